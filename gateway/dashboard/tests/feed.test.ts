import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

import { BarFeed } from '../src/app/chart/feed';
import type { Bar, BarsQuery, MarketDataClient, RestClient } from '../src/client';
import { bar } from './doubles';

interface Asked {
  readonly interval: string;
  readonly query: BarsQuery;
}

// A server with one week, which a test changes; `fails` lets the next answer fail.
class Server {
  week: Bar = bar(0, { interval: '1w', state: 'partial', close: 1, sequence: '1' });
  fails = false;
  readonly asked: Asked[] = [];
  readonly followed: string[] = [];
  onDay: (bar: Bar) => void = () => {};

  readonly rest = {
    bars: (_symbol: string, interval: string, query: BarsQuery) => {
      this.asked.push({ interval, query });
      if (!this.fails) return Promise.resolve({ bars: [this.week] });
      this.fails = false;
      return Promise.reject(new Error('away'));
    },
  } as unknown as RestClient;

  readonly client = {
    bars: (wanted: { interval: string }, handlers: { onBar(bar: Bar): void }) => {
      this.followed.push(wanted.interval);
      this.onDay = (each) => handlers.onBar(each);
      return { close: () => {} };
    },
  } as unknown as MarketDataClient;

  trade(close: number): void {
    const sequence = String(Number(this.week.sequence) + 1);
    this.week = { ...this.week, close, sequence };
    this.onDay(bar(0, { interval: '1d', close }));
  }
}

describe('a chart of weeks', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  async function started(server: Server): Promise<{ feed: BarFeed; closes: (number | null)[] }> {
    const closes: (number | null)[] = [];
    const feed = new BarFeed(server.client, server.rest, 'AAPL', '1w', {
      onReset: () => {},
      onBar: (each) => closes.push(each.close),
      onStatus: () => {},
    });
    await feed.start();
    return { feed, closes };
  }

  test('follows days, and reads the week again once for many changes', async () => {
    const server = new Server();
    const { feed, closes } = await started(server);
    expect(server.followed).toEqual(['1d']);
    for (const close of [2, 3, 4]) server.trade(close);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(closes).toEqual([4]);
    expect(server.asked.map(({ interval }) => interval)).toEqual(['1w', '1w']);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(server.asked.length).toBe(2);
    server.trade(5);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(closes).toEqual([4, 5]);
    feed.stop();
  });

  test('asks again after an answer that failed', async () => {
    const server = new Server();
    const { feed, closes } = await started(server);
    server.fails = true;
    server.trade(2);
    await vi.advanceTimersByTimeAsync(4_000);
    expect(closes).toEqual([2]);
    feed.stop();
  });

  test('asks no more when it was stopped', async () => {
    const server = new Server();
    const { feed } = await started(server);
    server.trade(2);
    feed.stop();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(server.asked.length).toBe(1);
  });
});
