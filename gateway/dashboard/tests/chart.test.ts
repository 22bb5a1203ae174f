import { describe, expect, test } from 'vitest';

import { candleOf, remarksOf, sessionBreaks, timeOf, vwapOf } from '../src/app/chart/points';
import { sinceOf } from '../src/app/chart/feed';
import { ageOf, usualInterval } from '../src/app/chart/usual';
import { BarSeries } from '../src/client';
import { bar } from './doubles';

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
    expect(candleOf(bar(0, { state: 'partial' }), PALETTE)).toMatchObject({
      color: 'clear',
      borderColor: 'up',
    });
    expect(candleOf(bar(0), PALETTE)).toMatchObject({ color: 'up', borderColor: 'up' });
    expect(candleOf(bar(0, { open: 102 }), PALETTE)).toMatchObject({ color: 'down' });
  });

  test('one for which the feed was not always there looks doubtful', () => {
    expect(candleOf(bar(0, { coverage: 'partial' }), PALETTE)).toMatchObject({ color: 'doubtful' });
  });

  test('a filler without prices is a space, and has no VWAP', () => {
    const filler = bar(0, { open: null, high: null, low: null, close: null, filler: 'no_feed' });
    expect(candleOf(filler, PALETTE)).toEqual({ time: timeOf(filler) });
    expect(vwapOf(filler)).toEqual({ time: timeOf(filler) });
  });

  test('tick bars of one millisecond stand side by side', () => {
    const times = [0, 1, 2].map((number) => timeOf(bar(0, { number })));
    expect(new Set(times).size).toBe(3);
    expect([...times].sort((a, b) => a - b)).toEqual(times);
  });
});

describe('sessions', () => {
  test('begin with another UTC day where there is no calendar', () => {
    const bars = [bar(1438), bar(1439), bar(1440), bar(1441)];
    expect(sessionBreaks(bars)).toEqual([timeOf(bar(1440))]);
  });

  test('begin with another phase where there is one', () => {
    const phases = ['pre', 'regular', 'regular', 'post'];
    const bars = phases.map((phase, minute) => bar(minute, { phase }));
    expect(sessionBreaks(bars)).toEqual([timeOf(bar(1)), timeOf(bar(3))]);
  });

  test('are not marked between days', () => {
    const day = (start: number) => {
      const { start: begins } = bar(start);
      return bar(start, { interval: '1d', end: String(Number(begins) + 86_400_000) });
    };
    expect(sessionBreaks([day(0), day(1440)])).toEqual([]);
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
