// Where a person is, in the address: `#/AAPL`, `#/AAPL/1m`, `#/connect`. Pure.

export interface Route {
  readonly page: 'market' | 'connect';
  readonly symbol: string;
  /** null: the chart chooses. */
  readonly interval: string | null;
}

const DEFAULT_SYMBOL = 'AAPL';
const INTERVAL = /^[1-9][0-9]{0,8}[smhdtvn]$/;

export function isInterval(text: string): boolean {
  return INTERVAL.test(text);
}

export function parseRoute(hash: string, before: Partial<Route> = {}): Route {
  const symbol = before.symbol ?? DEFAULT_SYMBOL;
  const interval = before.interval ?? null;
  const parts = hash.replace(/^#\/?/, '').split('/').map(decode);
  const [first = '', second = ''] = parts;
  if (first === 'connect') return { page: 'connect', symbol, interval };
  return {
    page: 'market',
    symbol: first.toUpperCase() || symbol,
    interval: isInterval(second) ? second : interval,
  };
}

export function formatRoute({ page, symbol, interval }: Route): string {
  if (page === 'connect') return '#/connect';
  return `#/${encodeURIComponent(symbol)}${interval === null ? '' : `/${interval}`}`;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return '';
  }
}
