// Where a person is, in the address: `#/AAPL`, `#/AAPL/1m`, `#/connect`. Pure.

import { parseSymbol } from '../symbols';

export interface Route {
  readonly page: 'market' | 'connect';
  readonly symbol: string;
  /** null: the chart chooses. */
  readonly interval: string | null;
}

const DEFAULT_SYMBOL = 'AAPL';
const CONNECT = 'connect';
const INTERVAL = /^([1-9][0-9]{0,8}[smhdwMytvn]|(0|[1-9][0-9]{0,8})\.[0-9]{0,17}[1-9][vn])$/;

export function isInterval(text: string): boolean {
  return INTERVAL.test(text);
}

export function parseRoute(hash: string, before: Partial<Route> = {}): Route {
  const symbol = before.symbol ?? DEFAULT_SYMBOL;
  const interval = before.interval ?? null;
  const [first = '', second = ''] = hash.replace(/^#\/?/, '').split('/');
  if (first === CONNECT) return { page: 'connect', symbol, interval };
  return {
    page: 'market',
    symbol: parseSymbol(decode(first)) ?? symbol,
    interval: isInterval(second) ? second : interval,
  };
}

export function formatRoute({ page, symbol, interval }: Route): string {
  if (page === 'connect') return `#/${CONNECT}`;
  // A symbol of this name has another address than the page.
  const name = symbol === CONNECT ? '%63onnect' : encodeURIComponent(symbol);
  return `#/${name}${interval === null ? '' : `/${interval}`}`;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return '';
  }
}
