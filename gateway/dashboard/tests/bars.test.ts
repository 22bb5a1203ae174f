import { describe, expect, test } from 'vitest';

import { BarSeries, isNewer } from '../src/client';
import { bar } from './doubles';

describe('isNewer', () => {
  const rows: [string, Parameters<typeof bar>[1], Parameters<typeof bar>[1], boolean][] = [
    ['a higher sequence', { sequence: '10' }, { sequence: '9' }, true],
    ['the same state', { sequence: '9' }, { sequence: '9' }, false],
    ['a revision', { revision: 1, state: 'revised' }, { sequence: '99' }, true],
    ['a lower revision', { sequence: '99' }, { revision: 1, state: 'revised' }, false],
    ['a closed bar', { sequence: '1' }, { state: 'partial', sequence: '5' }, true],
    ['an open one of a later epoch', { state: 'partial', epoch: '8' }, { epoch: '7' }, false],
    ['history from before the epoch', { sequence: '0' }, { sequence: '4' }, false],
    ['late data in an empty interval', { sequence: '0' }, { filler: 'no_trades' }, true],
    ['a filler', { filler: 'no_trades', sequence: '50' }, {}, false],
  ];
  test.each(rows)('%s', (_, newer, older, expected) => {
    expect(isNewer(bar(0, newer), bar(0, older))).toBe(expected);
  });
});

describe('BarSeries', () => {
  test('any order of arrival gives the same bars', () => {
    const states = [
      ...Array.from({ length: 40 }, (_, minute) => bar(minute, { sequence: String(minute * 2) })),
      ...Array.from({ length: 40 }, (_, minute) =>
        bar(minute, { state: 'revised', revision: 1, sequence: String(minute * 2 + 1) }),
      ),
    ];
    const expected = states.slice(40);
    let seed = 1;
    for (let round = 0; round < 50; round++) {
      const shuffled = states
        .map((state) => ({ state, at: (seed = (seed * 16807) % 2147483647) }))
        .sort((a, b) => a.at - b.at);
      const series = new BarSeries();
      for (const { state } of shuffled) series.put(state);
      expect(series.all).toEqual(expected);
    }
  });

  test('says what a state did', () => {
    const series = new BarSeries();
    expect(series.put(bar(1))).toEqual({ change: 'appended', index: 0 });
    expect(series.put(bar(3))).toEqual({ change: 'appended', index: 1 });
    expect(series.put(bar(2))).toEqual({ change: 'inserted', index: 1 });
    expect(series.put(bar(1, { revision: 1, state: 'revised' }))).toEqual({
      change: 'replaced',
      index: 0,
    });
    expect(series.put(bar(1))).toBeNull();
  });

  test('tick bars of the same start are told apart by number', () => {
    const series = new BarSeries();
    series.put(bar(1, { number: 1 }));
    series.put(bar(1, { number: 0 }));
    series.put(bar(1, { number: 2 }));
    expect(series.all.map((each) => each.number)).toEqual([0, 1, 2]);
  });

  test('is bounded, the oldest go first', () => {
    const series = new BarSeries(3);
    for (let minute = 0; minute < 5; minute++) series.put(bar(minute));
    expect(series.first).toEqual(bar(2));
    expect(series.put(bar(1))).toBeNull();
    expect(series.all).toHaveLength(3);
  });
});
