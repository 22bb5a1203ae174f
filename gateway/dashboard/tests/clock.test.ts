import { describe, expect, test } from 'vitest';

import { ServerClock, type Exchange } from '../src/client/clock';

// This machine's stopwatch began here, by the server's clock.
const START = 1_735_201_200_000;

interface Way {
  readonly atMs?: number;
  readonly outMs?: number;
  readonly workMs?: number;
  readonly backMs?: number;
  readonly aheadMs?: number;
}

function exchange({ atMs = 0, outMs = 5, workMs = 1, backMs = 5, aheadMs = 0 }: Way): Exchange {
  const receivedMs = START + aheadMs + atMs + outMs;
  const answeredMs = atMs + outMs + workMs + backMs;
  return { askedMs: atMs, receivedMs, sentMs: receivedMs + workMs, answeredMs };
}

function knowing(...ways: Way[]): ServerClock {
  const clock = new ServerClock();
  for (const way of ways) clock.take(exchange(way));
  return clock;
}

describe('the clock of the server', () => {
  test('is not known before it was asked', () => {
    expect(new ServerClock().at(0)).toBeNull();
  });

  test.each([0, 300_000, -300_000])('is known exactly when both ways take as long: %d', (aheadMs) => {
    expect(knowing({ aheadMs, workMs: 40 }).at(50)).toEqual({ nowMs: START + aheadMs + 50, errorMs: 6 });
  });

  test('is known within half of the way there and back, whichever took how long', () => {
    let seed = 3;
    const chance = (below: number) => (seed = (seed * 16807) % 2147483647) % below;
    for (let round = 0; round < 1000; round++) {
      const way = { outMs: chance(500), backMs: chance(500), workMs: chance(20) };
      const { answeredMs } = exchange(way);
      const known = knowing(way).at(answeredMs);
      expect(known).not.toBeNull();
      if (known === null) return;
      expect(Math.abs(known.nowMs - START - answeredMs)).toBeLessThanOrEqual(known.errorMs);
      expect(known.errorMs).toBe((way.outMs + way.backMs) / 2 + 1);
    }
  });

  test('is that of the fastest exchange', () => {
    const clock = knowing({ backMs: 300 }, { atMs: 1000, outMs: 2, backMs: 2 }, { atMs: 2000, outMs: 80 });
    expect(clock.at(2100)?.nowMs).toBeCloseTo(START + 2100, 6);
    expect(clock.at(2100)?.errorMs).toBeCloseTo(3.1, 1);
  });

  test('is known less well as time goes by, so that a newer exchange counts in the end', () => {
    const clock = knowing({ outMs: 1, backMs: 1 });
    expect(clock.at(100_000)?.errorMs).toBeCloseTo(12, 0);
    clock.take(exchange({ atMs: 100_000, outMs: 5, backMs: 5, aheadMs: 3 }));
    expect(clock.at(100_011)?.nowMs).toBeCloseTo(START + 3 + 100_011, 6);
  });

  test('drifts, and is followed', () => {
    const clock = new ServerClock();
    for (let atMs = 0; atMs < 600_000; atMs += 10_000) {
      const [aheadMs, noise] = [atMs * 5e-5, (atMs / 10_000) % 5];
      clock.take(exchange({ atMs, aheadMs, outMs: 5 + noise, backMs: 5 }));
      const known = clock.at(atMs + 20);
      expect(Math.abs((known?.nowMs ?? 0) - START - atMs - 20 - aheadMs)).toBeLessThan(
        known?.errorMs ?? 0,
      );
    }
  });

  test('that was set is believed at once', () => {
    const clock = knowing({ outMs: 1, backMs: 1 }, { atMs: 1000, aheadMs: 60_000 });
    expect(clock.at(1011)?.nowMs).toBe(START + 60_000 + 1011);
  });

  test.each([
    ['that was answered before it was asked', { ...exchange({}), answeredMs: -20 }],
    ['that was sent before it was received', { ...exchange({}), sentMs: START - 100 }],
    ['that took longer there than here', { ...exchange({}), sentMs: START + 500 }],
    ['whose question is forgotten', { ...exchange({}), askedMs: NaN }],
  ])('passes over an exchange %s', (_, wrong) => {
    const clock = new ServerClock();
    clock.take(wrong);
    expect(clock.at(0)).toBeNull();
  });

  test('of another connection takes the place of the one before', () => {
    const clock = knowing({ outMs: 1, backMs: 1 });
    clock.renew();
    expect(clock.at(20)?.nowMs).toBe(START + 20);
    clock.take(exchange({ atMs: 1000, aheadMs: 4, outMs: 50, backMs: 50 }));
    expect(clock.at(1101)?.nowMs).toBe(START + 4 + 1101);
  });

  test('can be forgotten', () => {
    const clock = knowing({});
    clock.forget();
    expect(clock.at(11)).toBeNull();
  });
});
