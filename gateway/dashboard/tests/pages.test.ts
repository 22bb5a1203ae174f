import { describe, expect, test } from 'vitest';

import { snippets, stompFrames } from '../src/app/connect/snippets';
import { formatRoute, parseRoute } from '../src/app/route';
import { connectionText, countdown } from '../src/app/status/connection';
import { producersOf, rateBetween, readStatus } from '../src/app/status/model';

const ANSWER = {
  status: 'ok',
  gateway: { feed: 'live', breaker: 'closed', clients: 3, conflated: '12' },
  aggregator: {
    status: 'ok',
    symbols: 2,
    accepted: '9007199254740993',
    rejected: { too_many_symbols: '2' },
    intervals: ['1s', '1m'],
    feeds: [
      { producerId: 'a', connected: true, producers: 2, accepted: '7', rejected: { bad_price: '3' } },
      { producerId: 'b', connected: false, producers: 9, accepted: null, rejected: null },
    ],
    store: { state: 'ok' },
  },
};

describe('the status', () => {
  test('is read, rejections of all services by reason', () => {
    const status = readStatus(ANSWER);
    expect(status).toMatchObject({
      aggregator: 'ok',
      breaker: 'closed',
      intervals: ['1s', '1m'],
      accepted: '9007199254740993',
      rejected: [
        ['bad_price', '3'],
        ['too_many_symbols', '2'],
      ],
      store: 'ok',
      clients: '3',
      conflated: '12',
    });
    expect(producersOf(status)).toBe('2');
  });

  test('of a gateway whose aggregator is away has no numbers', () => {
    const status = readStatus({ ...ANSWER, aggregator: { status: 'UNAVAILABLE' } });
    expect(status).toMatchObject({ aggregator: 'UNAVAILABLE', accepted: null, symbols: null });
    expect(producersOf(status)).toBeNull();
  });

  test.each([2 ** 53, 1e21, -1, 1.5, '1e3', '', null, {}])('%j is no count', (symbols) => {
    const status = readStatus({ ...ANSWER, aggregator: { ...ANSWER.aggregator, symbols } });
    expect(status.symbols).toBeNull();
  });

  test('has the rate of ticks between two looks', () => {
    const before = { at: 1000, accepted: '9007199254740993' };
    expect(rateBetween(before, { at: 3000, accepted: '9007199254742993' })).toBe(1000);
    expect(rateBetween(before, { at: 3000, accepted: '5' })).toBeNull();
    expect(rateBetween(null, before)).toBeNull();
  });
});

describe('the connection', () => {
  const state = { feed: 'unknown', retryAt: null, problem: null, attempts: 0 } as const;
  test('is live only when the gateway says so', () => {
    expect(connectionText({ ...state, phase: 'open', feed: 'live' }).tone).toBe('good');
    expect(connectionText({ ...state, phase: 'open', feed: 'stale' }).tone).toBe('bad');
    expect(connectionText({ ...state, phase: 'open' }).title).toBe('Connected');
  });

  test('says when it will be tried again', () => {
    expect(countdown({ ...state, phase: 'waiting', retryAt: 5000 }, 3500)).toBe(', again in 1.5 s');
    expect(countdown({ ...state, phase: 'open' }, 0)).toBe('');
  });
});

describe('the address', () => {
  test.each([
    ['', { page: 'market', symbol: 'AAPL', interval: null }],
    ['#/MSFT', { page: 'market', symbol: 'MSFT', interval: null }],
    ['#/MSFT/5m', { page: 'market', symbol: 'MSFT', interval: '5m' }],
    ['#/BRK%2Fb/100t', { page: 'market', symbol: 'BRK/b', interval: '100t' }],
    ['#/AAPL%20%20251219C00150000/1m', { page: 'market', symbol: 'AAPL  251219C00150000', interval: '1m' }],
    ['#/%23VIX', { page: 'market', symbol: '#VIX', interval: null }],
    ['#/A%252FB', { page: 'market', symbol: 'A%2FB', interval: null }],
    ['#/%63onnect', { page: 'market', symbol: 'connect', interval: null }],
    ['#/A%2A', { page: 'market', symbol: 'AAPL', interval: null }],
    ['#/MSFT/nonsense', { page: 'market', symbol: 'MSFT', interval: null }],
    ['#/connect', { page: 'connect', symbol: 'AAPL', interval: null }],
    ['#/%E0%A4%A', { page: 'market', symbol: 'AAPL', interval: null }],
  ])('%s', (hash, expected) => expect(parseRoute(hash)).toEqual(expected));

  test('leads back to where it came from', () => {
    const route = { page: 'market', symbol: 'BRK/B', interval: '1000000n' } as const;
    expect(parseRoute(formatRoute(route))).toEqual(route);
    const unchosen = { ...route, interval: null };
    expect(parseRoute(formatRoute(unchosen))).toEqual(unchosen);
  });

  test('of the connect page keeps the symbol', () => {
    const before = { symbol: 'MSFT', interval: '1h' };
    expect(parseRoute('#/connect', before)).toEqual({ page: 'connect', ...before });
  });
});

describe('snippets', () => {
  test('name the present host and symbol', () => {
    const made = snippets({ host: 'market.test:8443', secure: true, symbol: 'BRK/B' });
    for (const { id, code } of made) {
      expect(code, id).toMatch(/BRK\/B|BRK%2FB/);
      expect(code, id).toMatch(/market\.test/);
      expect(code, id).not.toMatch(/"?(http|ws):\/\//);
    }
  });

  test('quote a symbol that closes a string', () => {
    const symbol = "A'; x:(`b`)";
    for (const { id, code } of snippets({ host: 'localhost:8080', secure: false, symbol })) {
      if (['rest', 'bars', 'sse', 'websocket'].includes(id)) {
        expect(code.match(/'/g)).toHaveLength(2);
        expect(code).toContain('A%27%3B%20x%3A(%60b%60)');
      }
      if (['stomp', 'sdk'].includes(id)) expect(code).toContain("A'; x:(`b`)\"");
    }
    expect(stompFrames('h', 'C:EURUSD')[1]).toContain('/topic/market-data/C\\cEURUSD\n');
  });

  test('quote for the shell', () => {
    const grpc = snippets({ host: 'h', secure: false, symbol: 'A' }).find(({ id }) => id === 'grpc');
    expect(grpc?.code).toContain(`-d '{"symbol":"A"}' h:50051`);
  });

  test('STOMP frames end with NUL', () => {
    for (const frame of stompFrames('h', 'A')) expect(frame.endsWith('\n\n\0')).toBe(true);
  });
});
