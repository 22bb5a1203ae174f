// What two pages of a room tell each other over their data channel. Pure.

import { isSymbol } from '../symbols';

/** What the chart shows; the newest counts for all. */
export interface View {
  readonly symbol: string;
  readonly interval: string;
  /** When a person chose it, after all that they had seen; ties fall to the greater `by`. */
  readonly at: number;
  readonly by: string;
}

/** Where a person points: in the chart's terms, or in parts of its size where there is no bar. */
export interface Cursor {
  readonly time: number | null;
  readonly price: number | null;
  readonly x: number;
  readonly y: number;
}

export type PeerMessage =
  | { readonly type: 'hello'; readonly name: string; readonly audio: boolean; readonly video: boolean }
  | { readonly type: 'view'; readonly view: View }
  | { readonly type: 'cursor'; readonly cursor: Cursor | null };

// What others send is shown to people: bounded, and never more than text.
const MAX_NAME = 40;
const INTERVAL = /^([1-9][0-9]{0,8}[smhdwMytvn]|(0|[1-9][0-9]{0,8})\.[0-9]{0,17}[1-9][vn])$/;

export function cleanName(name: unknown): string {
  const text = typeof name === 'string' ? name.trim().slice(0, MAX_NAME) : '';
  return text === '' ? 'Somebody' : text;
}

export function isView(view: View): boolean {
  return isSymbol(view.symbol) && INTERVAL.test(view.interval);
}

/** Return whether `view` takes the place of `before`. */
export function isNewerView(view: View, before: View): boolean {
  return view.at > before.at || (view.at === before.at && view.by > before.by);
}

/** Return a time for the view that is chosen while `before` is shown. */
export function timeAfter(before: View, nowMs: number): number {
  // Who chose that one may have a clock that is minutes ahead of ours.
  return Math.max(nowMs, before.at + 1);
}

/** Return the message in `text`; null if it is none of ours. */
export function parsePeerMessage(text: unknown): PeerMessage | null {
  if (typeof text !== 'string') return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isRecord(value)) return null;
  if (value['type'] === 'hello') {
    const { name, audio, video } = value;
    return { type: 'hello', name: cleanName(name), audio: audio === true, video: video === true };
  }
  if (value['type'] === 'view' && isRecord(value['view'])) {
    const { symbol, interval, at, by } = value['view'];
    const view = { symbol: String(symbol), interval: String(interval), at: Number(at), by: String(by) };
    return isView(view) && Number.isFinite(view.at) ? { type: 'view', view } : null;
  }
  if (value['type'] === 'cursor') {
    if (!isRecord(value['cursor'])) return { type: 'cursor', cursor: null };
    const { time, price, x, y } = value['cursor'];
    if (!isPart(x) || !isPart(y)) return null;
    return { type: 'cursor', cursor: { time: numberOrNull(time), price: numberOrNull(price), x, y } };
  }
  return null;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function isPart(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value <= 1;
}

function numberOrNull(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}
