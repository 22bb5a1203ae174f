import { describe, expect, test } from 'vitest';

import {
  characters,
  decimalsOf,
  formatAge,
  formatChange,
  formatCount,
  formatLatency,
  formatOffset,
  formatPercent,
  formatPrice,
  formatRate,
  formatRounded,
  formatShort,
  formatTime,
  plain,
} from '../src/app/market/format';

/** Return the number that a person reads; null: it says that digits are missing. */
function read(text: string): number | null {
  if (text.startsWith('≈') || text === '…') return null;
  const units: Record<string, string> = { M: 'e6', B: 'e9', T: 'e12' };
  return Number(text.replace(/[,+]/g, '').replace('−', '-').replace(/[MBT]$/, (unit) => units[unit] ?? ''));
}

/** Doubles of every size and sign, the same in each run. */
function* doubles(count: number): Generator<number> {
  const view = new DataView(new ArrayBuffer(8));
  let seed = 11;
  const chance = () => (seed = (seed * 16807) % 2147483647);
  while (count > 0) {
    view.setUint32(0, chance() * 2 + (chance() % 2));
    view.setUint32(4, chance() * 2);
    const any = view.getFloat64(0);
    if (!Number.isFinite(any)) continue;
    count -= 3;
    yield any;
    // And such as prices are.
    yield Math.round(any === 0 ? 0 : chance()) / 10 ** (chance() % 9);
    yield (chance() * 2147483647) / 10 ** (chance() % 20);
  }
}

const EDGES = [
  0, -0, 1, -1, 0.1, 150.25, 1e21, 1e22, 1e23, 11_560_000_000, 1.239e-9, -37.63, -1e-7, 2 ** 53,
  2 ** 63, 5e-324, 1.7976931348623157e308, -1.7976931348623157e308, 0.30000000000000004,
  123_456.789_012, 9_007_199_254_740_993, 999_999_999.995,
];

describe('prices', () => {
  test.each([
    [0, '0'],
    [150.25, '150.25'],
    [1e21, '1000000000000000000000'],
    [1.5e22, '15000000000000000000000'],
    [1e-7, '0.0000001'],
    [-1.239e-9, '-0.000000001239'],
    [1.25e-7, '0.000000125'],
  ])('%d is plainly %s', (value, text) => expect(plain(value)).toBe(text));

  test.each([
    [150, 2],
    [150.5, 2],
    [150.125, 3],
    [0.00001234, 8],
    [1e-7, 7],
    [1.239e-9, 12],
    [5e-324, 12],
  ])('%d has %d decimals', (value, decimals) => expect(decimalsOf(value)).toBe(decimals));

  test.each([
    [null, 2, 10, '–'],
    [0, 2, 10, '0.00'],
    [150.25, 2, 10, '150.25'],
    [150.25, 4, 10, '150.2500'],
    [150.5, 12, 10, '150.50'],
    [-37.63, 2, 10, '-37.63'],
    // What does not fit with all its zeros has fewer of them, then an exponent, then fewer digits.
    [11_560_000_000, 2, 14, '11560000000.00'],
    [11_560_000_000, 2, 11, '11560000000'],
    [11_560_000_000, 2, 10, '11.56B'],
    [-11_560_000_000, 2, 8, '-11.56B'],
    [-1.239e-300, 2, 7, '…'],
    [1_500_000, 2, 6, '1.5M'],
    [9_007_199_254_740_993, 2, 10, '≈9.0072e15'],
    [1.239e-9, 12, 14, '0.000000001239'],
    [1.239e-9, 12, 10, '1.239e-9'],
    [0.30000000000000004, 2, 10, '≈0.3'],
    [1_234_567.891, 3, 10, '≈1234567.9'],
    [123_456_789.25, 2, 10, '≈123456789'],
    [1_234_567_891.25, 2, 10, '≈1.234568B'],
    [1.7976931348623157e308, 2, 10, '≈1.798e308'],
    [1.5e300, 2, 24, '1.5e300'],
  ])('%d with %d decimals in %d characters is %s', (value, decimals, width, text) => {
    expect(formatPrice(value, decimals, characters(width))).toBe(text);
  });

  test('read as the number that was sent, or say that they are shortened', () => {
    for (const value of [...EDGES, ...doubles(3000)]) {
      for (const width of [7, 10, 14, 24]) {
        const text = formatPrice(value, 2, characters(width));
        const found = read(text);
        expect(text.length).toBeLessThanOrEqual(width);
        if (found !== null) expect(found, text).toBe(value === 0 ? 0 : value);
        else if (text !== '…') {
          expect(text).toMatch(/^≈-?\d+(\.\d+)?(e-?\d+|[MBT])?$/);
          // Shortened is not something else.
          const near = read(text.slice(1)) ?? NaN;
          if (Math.abs(value) < 1e308) expect(Math.abs(near / value - 1), text).toBeLessThan(0.5);
        }
      }
      expect(read(formatPrice(value, 12)), 'without a bound').toBe(value === 0 ? 0 : value);
    }
  });

  test.each([
    [102.66666666666667, 4, '≈102.6667'],
    [102.5, 4, '102.5000'],
    [null, 4, '–'],
    [1.2390000001e-9, 6, '≈1.239e-9'],
    [1.5e300, 4, '1.5e300'],
  ])('%d rounded to %d decimals is %s', (value, decimals, text) => {
    expect(formatRounded(value, decimals)).toBe(text);
  });
});

describe('changes', () => {
  test.each([
    [null, 1, '–'],
    [1, null, '–'],
    [100, 101.5, '+1.50'],
    [101.5, 100, '−1.50'],
    [1, 1, '0.00'],
    [0.1, 0.3, '+0.20'],
    [-37.63, 10.01, '+47.64'],
    [1.239e-9, 1.24e-9, '+1e-12'],
    [11_560_000_000, 11_560_000_000.01, '+0.01'],
    [0, 11_560_000_000, '+11.56B'],
    [1.5e308, -1.7e308, '–'],
    [0.001, 1234567.89, '≈+1234568'],
    [0.5, 11_560_000_000, '≈+11.56B'],
  ])('from %d to %d are %s', (from, to, text) => {
    expect(formatChange(from, to, 2, characters(10))).toBe(text);
  });

  test('are exact', () => {
    const scaled = (value: number) => BigInt(Math.round(value * 1e6));
    for (let step = 0; step < 2000; step++) {
      const [from, to] = [(step * 7919) % 100_003, (step * 104_729) % 1_000_003];
      const text = formatChange(from / 1e6, to / 1e6, 2).replace('−', '-').replace('+', '');
      expect(scaled(Number(text))).toBe(BigInt(to - from));
    }
  });

  test.each([
    [null, '–'],
    [Infinity, '–'],
    [0, '0.00'],
    [0.8291, '+0.83'],
    [-12.345, '−12.35'],
    [0.0012, '≈+0.001'],
    [-1.2e-7, '≈−0.0000001'],
    [123456, '+123456.00'],
    [1.2345678e12, '+1.2345678T'],
  ])('%d percent are %s', (percent, text) => expect(formatPercent(percent, characters(11))).toBe(text));
});

describe('counts', () => {
  test.each([
    [null, '–', '–'],
    ['0', '0', '0'],
    ['999', '999', '999'],
    ['9999', '9,999', '9,999'],
    ['12345', '12.3k', '12,345'],
    ['999999', '999k', '999,999'],
    ['1234567', '1.23M', '1,234,567'],
    ['-1234567', '-1.23M', '-1,234,567'],
    ['9007199254740993', '9.00Qa', '9,007,199,254,740,993'],
    ['9223372036854775807', '9.22Qi', '9,223,372,036,854,775,807'],
    ['12345678901234567890123', '12,345Qi', '12,345,678,901,234,567,890,123'],
    ['0.00012', '0.00012', '0.00012'],
    ['1234.5678', '1,234.5678', '1,234.5678'],
    ['12345.678', '12.3k', '12,345.678'],
  ])('%s is short for %s of %s', (digits, short, long) => {
    expect(formatShort(digits)).toBe(short);
    expect(formatCount(digits)).toBe(long);
  });

  test.each([
    [0, '0.0'],
    [9.94, '9.9'],
    [9.96, '10'],
    [12_345.6, '12,346'],
    [1e21, '1,000,000,000,000,000,000,000'],
  ])('%d a second is %s', (rate, text) => expect(formatRate(rate)).toBe(text));
});

describe('times', () => {
  test.each([
    [0, 0, '0.0s'],
    [499, 0, '0.4s'],
    [9_999, 0, '9.9s'],
    [10_000, 0, '10s'],
    [59_999, 0, '59s'],
    [60_000, 0, '1m'],
    [300_000, 0, '5m'],
    [7_200_000, 0, '2h'],
    [200_000_000, 0, '2d'],
    [1.735e12, 0, '20,081d'],
    [-50, 0, '0.0s'],
    [-3_000, 0, '−3.0s'],
    [-300_000, 0, '−5m'],
    [3_000, 49, '3.0s'],
    [3_000, 51, '≈3.0s'],
    [30_000, 51, '30s'],
    [30_000, 600, '≈30s'],
  ])('an age of %d ± %d ms is %s', (ms, errorMs, text) => {
    expect(formatAge({ ms, errorMs })).toBe(text);
  });

  test.each([
    [0, 1, '< 1 ms'],
    [0.7, 1.2, '< 2 ms'],
    [2, 1.2, '≈2.0 ms'],
    [25.4, 1.2, '25 ms'],
    [99.6, 1, '100 ms'],
    [2500, 1, '2.5 s'],
    [2500, 400, '≈2.5 s'],
    [Infinity, 1, '> 16 s'],
    [-Infinity, 1, '< 0 ms'],
  ])('a latency of %d ± %d ms is %s', (ms, errorMs, text) => {
    expect(formatLatency({ ms, errorMs })).toBe(text);
  });

  test('that are not known are nothing', () => {
    expect([formatAge(null), formatLatency(null)]).toEqual(['–', '–']);
  });

  test.each([
    [0, 1, '< 1 ms'],
    [-0.4, 1.2, '< 2 ms'],
    [12.4, 1, '+12 ms'],
    [-300_000, 2, '−300.0 s'],
    [86_400_000, 2, '+86,400.0 s'],
  ])('a clock that is %d ± %d ms off is %s off', (ms, errorMs, text) => {
    expect(formatOffset({ ms, errorMs })).toBe(text);
  });

  test.each([
    ['0', '1970-01-01 00:00:00'],
    ['1735201234000000000', '2024-12-26 08:20:34'],
    ['1735201234500000000', '2024-12-26 08:20:34.5'],
    ['1735201234567890123', '2024-12-26 08:20:34.567890123'],
    ['1735201234000000001', '2024-12-26 08:20:34.000000001'],
    ['9223372036854775807', '2262-04-11 23:47:16.854775807'],
  ])('%s is %s', (ns, text) => expect(formatTime(ns)).toBe(text));
});
