// Where a person is, in the address: `#/AAPL/1m`, `#/connect`. Pure.

export interface Route {
  readonly page: 'market' | 'connect';
  readonly symbol: string;
  readonly interval: string;
}

const DEFAULT_SYMBOL = 'AAPL';
const DEFAULT_INTERVAL = '1m';
const INTERVAL = /^[1-9][0-9]{0,8}[smhdtvn]$/;

export function isInterval(text: string): boolean {
  return INTERVAL.test(text);
}

export function parseRoute(hash: string, before: Partial<Route> = {}): Route {
  const symbol = before.symbol ?? DEFAULT_SYMBOL;
  const interval = before.interval ?? DEFAULT_INTERVAL;
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
  return page === 'connect' ? '#/connect' : `#/${encodeURIComponent(symbol)}/${interval}`;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return '';
  }
}
