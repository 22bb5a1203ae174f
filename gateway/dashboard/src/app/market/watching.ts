// Which symbols a person follows; kept in this browser.

import { parseSymbol } from '../../symbols';

export interface Watching {
  /** Every symbol there is. */
  readonly all: boolean;
  /** Those added by name. */
  readonly named: readonly string[];
}

const KEY = 'market-data.watching';
export const MAX_NAMED = 2_000;

export function parseWatching(text: string | null): Watching {
  const nothing: Watching = { all: true, named: [] };
  if (text === null) return nothing;
  try {
    const stored = JSON.parse(text) as Partial<Watching>;
    const named = (Array.isArray(stored.named) ? stored.named : [])
      .map((each) => parseSymbol(String(each)))
      .filter((each) => each !== null);
    return { all: stored.all !== false, named: [...new Set(named)].slice(0, MAX_NAMED) };
  } catch {
    return nothing;
  }
}

export function loadWatching(): Watching {
  return parseWatching(localStorage.getItem(KEY));
}

export function saveWatching(watching: Watching): void {
  localStorage.setItem(KEY, JSON.stringify(watching));
}

export function topicsOf(watching: Watching, selected: string): string[] {
  if (watching.all) return ['*'];
  return [...new Set([...watching.named, selected])].filter((each) => each !== '');
}
