import { describe, expect, test } from 'vitest';

import { axisFormat, axisMarks, axisPrice, secondText } from '../src/app/chart/axis';
import { candleOf, place, placeAll, remarksOf, sessionBreaks, vwapOf } from '../src/app/chart/points';
import { sinceOf } from '../src/app/chart/feed';
import { ageOf, intervalsOf, isLong, usualInterval } from '../src/app/chart/usual';
import { BarSeries } from '../src/client';
import type { Bar } from '../src/client';
import { bar } from './doubles';

const placed = (minute: number, more: Partial<Bar> = {}) => place(bar(minute, more), undefined);

const PALETTE = {
  up: 'up',
  down: 'down',
  upFaint: 'u',
  downFaint: 'd',
  doubtful: 'doubtful',
  upClear: 'clear',
  downClear: 'clear',
};

describe('candles', () => {
  test('an open bar is hollow, a closed one is filled', () => {
    expect(candleOf(placed(0, { state: 'partial' }), PALETTE)).toMatchObject({
      color: 'clear',
      borderColor: 'up',
    });
    expect(candleOf(placed(0), PALETTE)).toMatchObject({ color: 'up', borderColor: 'up' });
    expect(candleOf(placed(0, { open: 102 }), PALETTE)).toMatchObject({ color: 'down' });
  });

  test('one for which the feed was not always there looks doubtful', () => {
    expect(candleOf(placed(0, { coverage: 'partial' }), PALETTE)).toMatchObject({ color: 'doubtful' });
  });

  test('a filler without prices is a space, and has no VWAP', () => {
    const filler = placed(0, { open: null, high: null, low: null, close: null, filler: 'no_feed' });
    expect(candleOf(filler, PALETTE)).toEqual({ time: filler.time });
    expect(vwapOf(filler)).toEqual({ time: filler.time });
  });
});

describe('the places of bars', () => {
  const START = 1_735_201_234_567_890_123n;
  const at = (ns: bigint, number = 0) => bar(0, { startNs: String(START + ns), number });
  const increasing = (bars: readonly Bar[]) => {
    const times = placeAll(bars).map(({ time }) => time as number);
    for (let index = 1; index < times.length; index++) {
      expect(times[index]).toBeGreaterThan(times[index - 1] ?? 0);
    }
    return times;
  };

  test('are where they begin', () => {
    const [first, second] = increasing([bar(0), bar(1)]);
    expect([first, second]).toEqual([1_735_171_200, 1_735_171_260]);
  });

  test.each([
    ['one millisecond', [at(0n, 0), at(0n, 1), at(20_000n, 0), at(20_000n, 1), at(40_000n, 0)]],
    ['one nanosecond', [0, 1, 2, 3, 4].map((number) => at(0n, number))],
    ['nanoseconds after each other', [0n, 1n, 2n, 300n, 301n].map((ns) => at(ns))],
    ['a number that is great', [at(0n, 2_000_000_000), at(1n, 0)]],
  ])('differ for bars of %s, in their order', (_, bars) => {
    const times = increasing(bars);
    for (const time of times) expect(Math.abs(time - Number(START) / 1e9)).toBeLessThan(1e-3);
  });

  test('differ for any bars, up to the end of time', () => {
    let seed = 7;
    const chance = (below: number) => (seed = (seed * 16807) % 2147483647) % below;
    for (let round = 0; round < 100; round++) {
      const series = new BarSeries();
      const from = round % 2 ? START : 9_223_372_036_000_000_000n;
      for (let count = 0; count < 200; count++) {
        const ns = from + BigInt(chance(3) * chance(500) * chance(500));
        series.put(bar(0, { startNs: String(ns), number: chance(4) }));
      }
      increasing(series.all);
    }
  });

  test('are the same whether bars come one by one or together', () => {
    const bars = [at(0n, 0), at(0n, 1), at(100n, 0), at(5_000n, 0)];
    const one: ReturnType<typeof place>[] = [];
    for (const each of bars) one.push(place(each, one[one.length - 1]));
    expect(one).toEqual(placeAll(bars));
  });
});

describe('sessions', () => {
  test('begin with another UTC day where there is no calendar', () => {
    const bars = [bar(1438), bar(1439), bar(1440), bar(1441)];
    expect(sessionBreaks(placeAll(bars))).toEqual([placed(1440).time]);
  });

  test('begin with another phase where there is one', () => {
    const phases = ['pre', 'regular', 'regular', 'post'];
    const bars = phases.map((phase, minute) => bar(minute, { phase }));
    expect(sessionBreaks(placeAll(bars))).toEqual([placed(1).time, placed(3).time]);
  });

  test('are not marked between days', () => {
    const day = (start: number) => {
      const { start: begins } = bar(start);
      return bar(start, { interval: '1d', end: String(Number(begins) + 86_400_000) });
    };
    expect(sessionBreaks(placeAll([day(0), day(1440)]))).toEqual([]);
  });
});

test('what is special about a bar is said', () => {
  expect(remarksOf(bar(0))).toEqual([]);
  const special = bar(0, { state: 'revised', revision: 2, coverage: 'no_feed', phase: 'post' });
  expect(remarksOf(special)).toEqual(['revised ×2', 'no feed', 'post']);
});

test('live begins where a bar of the history may still have been revised', () => {
  const series = new BarSeries();
  expect(sinceOf(series)).toBeNull();
  for (let minute = 0; minute < 10; minute++) series.put(bar(minute));
  expect(sinceOf(series)).toBe(bar(0).startNs);
  for (let minute = 10; minute < 60; minute++) series.put(bar(minute));
  expect(sinceOf(series)).toBe(bar(39).startNs);
});

describe('the interval that nobody chose', () => {
  const series = (minutes: readonly number[]) => {
    const made = new BarSeries();
    for (const minute of minutes) made.put(bar(minute));
    return made;
  };
  const upTo = (count: number) => series([...Array(count).keys()]);

  test('is a second while there are few bars of a minute', () => {
    expect(usualInterval('unknown')).toBe('1m');
    expect(ageOf('unknown', upTo(0))).toBe('young');
    expect(ageOf('unknown', upTo(14))).toBe('young');
    expect(usualInterval('young')).toBe('1s');
  });

  test('is a minute when there are enough, and stays so', () => {
    expect(ageOf('unknown', upTo(15))).toBe('grown');
    expect(ageOf('young', series([0, 14]))).toBe('young');
    expect(ageOf('young', series([0, 15]))).toBe('grown');
    expect(ageOf('grown', upTo(1))).toBe('grown');
    expect(usualInterval('grown')).toBe('1m');
  });
});

describe('the axes', () => {
  test.each([
    [150.25, 2, '150.25'],
    [150.251234, 2, '150.25'],
    [3e-17, 2, '0.00'],
    [11_560_000_000, 2, '11560000000.00'],
    [1.239e-9, 12, '0.000000001239'],
    [-37.63, 2, '-37.63'],
    [1.5e300, 2, '1.5e300'],
    [0.30000000000000004, 12, '≈0.3'],
  ])('%d with %d decimals is %s', (price, decimals, text) => {
    expect(axisPrice(price, decimals)).toBe(text);
  });

  test.each([
    [150.25, 2, 0.01, 100],
    [1.239e-9, 12, 1e-12, 1e12],
    [1.5e300, 2, 1e286, 1e-286],
    [0, 2, 0.01, 100],
    [null, 3, 0.001, 1000],
  ])('a price of %d with %d decimals moves by %d', (price, decimals, minMove, base) => {
    expect(axisFormat(price, decimals)).toMatchObject({ minMove, base });
  });

  test('the marks of an axis are round, and of one form', () => {
    const [low, high] = [1.2400000000000003e-9, 1.2449999999999999e-9];
    expect(axisMarks([low, high], 12)).toEqual(['0.000000001240', '0.000000001245']);
    expect(axisMarks([low * 1e-3, high * 1e-3], 12)).toEqual(['1.24e-12', '1.245e-12']);
    expect(axisMarks([-0.10000000000000142, 3e-17, 0.1], 2)).toEqual(['-0.10', '0.00', '0.10']);
    expect(axisMarks([1e10, 1.2e10], 2)).toEqual(['10000000000.00', '12000000000.00']);
  });

  test('a time of day has the digits of its second', () => {
    expect(secondText('1735201234000000000')).toBe('08:20:34');
    expect(secondText('1735201234567890123')).toBe('08:20:34.567890123');
  });
});

describe('intervals', () => {
  test('of weeks and more are there where there are days', () => {
    expect(intervalsOf(['1m', '1d'])).toEqual(['1m', '1d', '1w', '1M', '3M', '1y']);
    expect(intervalsOf(['1m'])).toEqual(['1m']);
  });

  test.each([
    ['1w', true],
    ['3d', true],
    ['1M', true],
    ['10y', true],
    ['1d', false],
    ['1m', false],
    ['100t', false],
  ])('%s is made of days: %s', (interval, long) => {
    expect(isLong(interval)).toBe(long);
  });
});
