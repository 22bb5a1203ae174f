import { describe, expect, test } from 'vitest';

import { LATENCY_BOUNDS, LatencyWindow, RateMeter, barsOf, quantile } from '../src/app/market/metrics';
import { QuoteBook, Spark, ageOf, changeOf, changePercentOf } from '../src/app/market/quotes';
import { parseWatching, topicsOf } from '../src/app/market/watching';
import { parseSymbol } from '../src/symbols';
import { arrange, nextSorting, type SortKey } from '../src/app/watchlist/order';
import { aggregate } from './doubles';

const update = (symbol: string, more: Parameters<typeof aggregate>[1] = {}) => ({
  data: aggregate(symbol, more),
  conflated: 0,
  recovered: null,
});

const NOW = { nowMs: 1_735_201_235_567.89, errorMs: 2 };

describe('QuoteBook', () => {
  test('tells which way the price went, and counts moves only', () => {
    const book = new QuoteBook();
    const quote = book.take(update('AAPL', { close: 10 }), 0, 0);
    expect([quote.direction, quote.moves]).toEqual([0, 0]);
    book.take(update('AAPL', { close: 11 }), 0, 0);
    expect([quote.direction, quote.moves]).toEqual([1, 1]);
    book.take(update('AAPL', { close: 11 }), 0, 0);
    expect([quote.direction, quote.moves]).toEqual([1, 1]);
    book.take(update('AAPL', { close: 9 }), 0, 0);
    expect([quote.direction, quote.moves]).toEqual([-1, 2]);
  });

  test('what a subscription begins with does not count as prompt', () => {
    const book = new QuoteBook();
    expect(book.take(update('AAPL'), 0, 1).prompt).toBe(false);
    expect(book.take(update('AAPL'), 0, 1).prompt).toBe(true);
    expect(book.take(update('AAPL'), 0, 2).prompt).toBe(false);
    expect(book.take({ ...update('AAPL'), recovered: true }, 0, 2).prompt).toBe(false);
  });

  test('has as many decimals as its prices need', () => {
    const book = new QuoteBook();
    const quote = book.take(update('AAPL', { close: 10.5, low: 9.125 }), 0, 0);
    expect(quote.decimals).toBe(3);
    book.take(update('AAPL', { close: 10.5, low: 9.0625 }), 0, 0);
    expect(quote.decimals).toBe(4);
  });

  test('what is not known is null, never zero', () => {
    const nothing = aggregate('A', { open: null, close: null, timestampNs: null });
    expect([changeOf(nothing), changePercentOf(nothing), ageOf(nothing, NOW)]).toEqual([
      null,
      null,
      null,
    ]);
    expect(changePercentOf(aggregate('A', { open: 100, close: 101 }))).toBe(1);
    // Without the server's time there is no age: this machine's may be wrong.
    expect(ageOf(aggregate('A'), null)).toBeNull();
  });

  test('an age is by the time of the server', () => {
    const data = aggregate('A', { timestampNs: '1735201234567890123' });
    expect(ageOf(data, NOW)?.ms).toBeCloseTo(1000, 2);
    expect(ageOf(data, { ...NOW, nowMs: NOW.nowMs - 3000 })?.ms).toBeCloseTo(-2000, 2);
  });
});

test('a sparkline has one point per bucket, the newest, and forgets the oldest', () => {
  const spark = new Spark(3, 1000);
  for (const [value, at] of [
    [1, 0],
    [2, 999],
    [3, 1000],
    [4, 2000],
    [5, 9000],
  ] as const) {
    spark.push(value, at);
  }
  expect(spark.points).toEqual([3, 4, 5]);
  expect(spark.push(5, 9001)).toBe(false);
});

describe('LatencyWindow', () => {
  test('counts lie in the bucket whose bound they do not pass', () => {
    const latency = new LatencyWindow();
    for (const ms of [-1, 0, 1, 1.01, 16384, 16385]) latency.record(ms, 0);
    const counts = latency.counts(0);
    expect(counts.slice(0, 3)).toEqual([1, 2, 1]);
    expect(counts.slice(-2)).toEqual([1, 1]);
    expect(counts).toHaveLength(LATENCY_BOUNDS.length + 1);
    const bars = barsOf(counts).filter(({ count }) => count > 0);
    expect(bars).toEqual([
      { toMs: 0, count: 1 },
      { toMs: 1, count: 2 },
      { toMs: Math.SQRT2, count: 1 },
      { toMs: 16384, count: 1 },
      { toMs: Infinity, count: 1 },
    ]);
  });

  test('forgets after ten seconds', () => {
    const latency = new LatencyWindow();
    latency.record(5, 0);
    expect(quantile(latency.counts(9_999), 0.5)).not.toBeNull();
    expect(quantile(latency.counts(10_000), 0.5)).toBeNull();
  });

  test('quantiles are right within a bucket', () => {
    const latency = new LatencyWindow();
    for (let ms = 1; ms <= 1000; ms++) latency.record(ms, 0);
    const counts = latency.counts(0);
    for (const q of [0.01, 0.1, 0.5, 0.9, 0.99, 1]) {
      const found = quantile(counts, q) ?? 0;
      expect(Math.abs(found - 1000 * q)).toBeLessThanOrEqual(0.044 * 1000 * q);
    }
    expect(quantile([...counts.slice(0, -1), 1e6], 0.99)).toBe(Infinity);
    expect(quantile([1e6, ...counts.slice(1)], 0.5)).toBe(-Infinity);
  });
});

test('a rate is that of whole seconds', () => {
  const rate = new RateMeter();
  for (let ms = 0; ms < 3000; ms += 10) rate.count(ms);
  expect(rate.perSecond(3000)).toBe(100);
  expect(rate.perSecond(10_000)).toBe(0);
});

describe('the watchlist', () => {
  const book = new QuoteBook();
  book.take(update('A', { open: 10, close: 11, volume: '9007199254740993', timestampNs: '3' }), 0, 0);
  book.take(update('B', { open: 10, close: 9, volume: '9007199254740992', timestampNs: '20' }), 0, 0);
  book.take(update('AC', { open: 10, close: 15, volume: '7', timestampNs: '1' }), 0, 0);
  book.open('NEW');
  const sorted = (key: SortKey, descending: boolean) =>
    arrange(book.all(), '', { key, descending }).map((quote) => quote.symbol);

  test.each([
    ['symbol', false, 'A AC B NEW'],
    ['symbol', true, 'NEW B AC A'],
    ['last', true, 'AC A B NEW'],
    ['percent', false, 'B A AC NEW'],
    ['volume', true, 'A B AC NEW'],
    ['age', false, 'B A AC NEW'],
  ] as const)('by %s, descending: %s', (key, descending, expected) => {
    expect(sorted(key, descending).join(' ')).toBe(expected);
  });

  test('is filtered by a part of the symbol, in any case', () => {
    const found = arrange(book.all(), ' a', { key: 'symbol', descending: false });
    expect(found.map((quote) => quote.symbol)).toEqual(['A', 'AC']);
  });

  test('a second click turns the order round', () => {
    const first = nextSorting({ key: 'symbol', descending: false }, 'volume');
    expect(first).toEqual({ key: 'volume', descending: true });
    expect(nextSorting(first, 'volume')).toEqual({ key: 'volume', descending: false });
  });
});

describe('what is watched', () => {
  test('symbols are read as the server reads them', () => {
    expect(parseSymbol(' brk/B ')).toBe('brk/B');
    for (const symbol of ['AAPL  251219C00150000', '/ES', '#VIX', 'M&M.NS', 'CL1!', 'BTC~USD']) {
      expect(parseSymbol(symbol)).toBe(symbol);
    }
    for (const text of ['A*', 'A,B', 'A"', 'A\\B', 'é', 'A'.repeat(65)]) {
      expect(parseSymbol(text)).toBeNull();
    }
    expect(parseSymbol('')).toBeNull();
  });

  test('what was kept by another version, or by nobody, does no harm', () => {
    expect(parseWatching(null)).toEqual({ all: true, named: [] });
    expect(parseWatching('{')).toEqual({ all: true, named: [] });
    expect(parseWatching('{"all":false,"named":[" AAPL","A*",7,"AAPL"]}')).toEqual({
      all: false,
      named: ['AAPL', '7'],
    });
  });

  test('the symbol on the chart is followed too', () => {
    expect(topicsOf({ all: true, named: ['A'] }, 'B')).toEqual(['*']);
    expect(topicsOf({ all: false, named: ['A'] }, 'B')).toEqual(['A', 'B']);
  });
});
