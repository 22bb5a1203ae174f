import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

import {
  MarketDataClient,
  StreamError,
  type Bar,
  type ClientOptions,
  type Gap,
} from '../src/client';
import { FakeServer, bar } from './doubles';

let server: FakeServer;
let client: MarketDataClient;

beforeEach(() => {
  vi.useFakeTimers();
  server = new FakeServer();
  client = open();
});

afterEach(() => {
  client.close();
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

function open(options: ClientOptions = {}): MarketDataClient {
  const made = new MarketDataClient({ transport: server.transport, random: () => 0, ...options });
  made.open();
  return made;
}

const settle = () => vi.advanceTimersByTimeAsync(0);

function follow(...symbols: string[]) {
  const seen: string[] = [];
  const gaps: Gap[] = [];
  const subscription = client.subscribe(
    { symbols },
    {
      onUpdate: ({ data }) => seen.push(`${data.symbol}:${data.sequence}`),
      onGap: (gap) => gaps.push(gap),
    },
  );
  return { seen, gaps, subscription };
}

describe('subscriptions are state', () => {
  test('what was asked for before the connection is open is sent when it is', () => {
    follow('AAPL');
    expect(server.last.sent).toEqual([]);
    server.last.accept();
    expect(server.last.subscribes()).toMatchObject([{ symbols: ['AAPL'], policy: 'conflate' }]);
  });

  test('a change while it is connected is sent at once, several in a row as one', async () => {
    server.last.accept();
    const { subscription } = follow('AAPL');
    subscription.setSymbols(['AAPL', 'MSFT']);
    await settle();
    expect(server.last.subscribes()).toMatchObject([{ symbols: ['AAPL', 'MSFT'] }]);
  });

  test('a subscription made and closed at once is never sent', async () => {
    server.last.accept();
    follow('AAPL').subscription.close();
    await settle();
    expect(server.last.sent).toEqual([]);
  });

  test('other symbols go on where they are, under an id that was not used before', async () => {
    const { subscription, seen } = follow('AAPL');
    server.last.accept();
    const first = server.last.id();
    server.last.update('AAPL', 41);
    subscription.setSymbols(['AAPL', 'MSFT']);
    await settle();
    expect(server.last.sent.slice(1)).toMatchObject([
      { type: 'unsubscribe', id: first },
      { type: 'subscribe', resume: { epoch: '7', sequences: { AAPL: '41' } } },
    ]);
    expect(server.last.id()).not.toBe(first);
    // What was on its way under the old id is no news: it comes again under the new one.
    server.last.update('AAPL', 42, { id: first });
    server.last.update('AAPL', 42, { recovered: true });
    expect(seen).toEqual(['AAPL:41', 'AAPL:42']);
  });

  test('more symbols than one request may name become several', () => {
    client.close();
    client = open({ maxSymbolsPerRequest: 2 });
    follow('A', 'B', 'C');
    server.last.accept();
    expect(server.last.subscribes()).toMatchObject([{ symbols: ['A', 'B'] }, { symbols: ['C'] }]);
  });

  test('nothing comes after close', async () => {
    const { seen, subscription } = follow('AAPL');
    server.last.accept();
    subscription.close();
    await settle();
    server.last.update('AAPL', 1);
    expect(seen).toEqual([]);
  });
});

describe('a lost connection', () => {
  test('comes back by itself and resumes what was followed', async () => {
    const { seen, gaps } = follow('AAPL', 'MSFT');
    server.last.accept();
    server.last.update('AAPL', 41);
    server.last.drop();
    expect(client.state).toMatchObject({ phase: 'waiting', retryAt: Date.now() + 250 });
    await vi.advanceTimersByTimeAsync(250);
    server.last.accept();
    expect(server.connections).toHaveLength(2);
    expect(server.last.subscribes()).toMatchObject([
      { symbols: ['AAPL', 'MSFT'], resume: { epoch: '7', sequences: { AAPL: '41' } } },
    ]);
    server.last.update('AAPL', 45, { recovered: true });
    expect(seen).toEqual(['AAPL:41', 'AAPL:45']);
    expect(gaps).toEqual([]);
  });

  test('waits longer after each failure, up to a bound, and anew after success', async () => {
    const delays: number[] = [];
    for (let attempt = 0; attempt < 8; attempt++) {
      server.last.drop();
      const delay = (client.state.retryAt ?? 0) - Date.now();
      delays.push(delay);
      await vi.advanceTimersByTimeAsync(delay);
    }
    expect(delays).toEqual([250, 500, 1000, 2000, 4000, 5000, 5000, 5000]);
    server.last.accept();
    server.last.drop();
    expect((client.state.retryAt ?? 0) - Date.now()).toBe(250);
  });

  test('comes back when a gateway that stops wants it to', async () => {
    server.last.accept();
    server.last.say({ type: 'status', status: 'server-shutdown', reconnectAfterMs: 4321 });
    expect(client.state.feed).toBe('live');
    server.last.drop(1012, 'server-shutdown; reconnectAfterMs=4321');
    expect(client.state).toMatchObject({ phase: 'waiting', retryAt: Date.now() + 4321 });
    expect(client.state.problem?.message).toBe('the server restarts');
    await vi.advanceTimersByTimeAsync(4321);
    // It said so of that one return.
    server.last.drop();
    expect((client.state.retryAt ?? 0) - Date.now()).toBe(500);
  });

  test('spreads clients over half of the delay', () => {
    client.close();
    client = open({ random: () => 1 });
    server.last.drop();
    expect((client.state.retryAt ?? 0) - Date.now()).toBe(500);
  });

  test('can be tried again at once', () => {
    server.last.drop();
    client.retryNow();
    expect(client.state.phase).toBe('connecting');
    expect(server.connections).toHaveLength(2);
  });

  test('is noticed when nothing is heard, though it was asked for', async () => {
    server.last.accept();
    await vi.advanceTimersByTimeAsync(2_000);
    expect(server.last.pings).toBeGreaterThan(0);
    server.last.say({ type: 'pong' });
    await vi.advanceTimersByTimeAsync(5_999);
    expect(client.state.phase).toBe('open');
    await vi.advanceTimersByTimeAsync(1);
    expect(client.state.phase).toBe('waiting');
    expect(server.last.closedByClient).toBe(true);
  });

  test('is not given up by a page that slept while messages came', () => {
    server.last.accept();
    vi.setSystemTime(Date.now() + 3_600_000);
    vi.advanceTimersByTime(1_000);
    expect(client.state.phase).toBe('open');
  });

  test('that never opened is noticed too', async () => {
    await vi.advanceTimersByTimeAsync(6_000);
    expect(client.state.phase).toBe('waiting');
  });
});

describe('the time of the server', () => {
  // Its clock is five minutes ahead; each way takes 10 ms, the answer 1 ms.
  const AHEAD_MS = 300_000;
  async function exchange() {
    await vi.advanceTimersByTimeAsync(10);
    const received = BigInt(Date.now() + AHEAD_MS) * 1_000_000n;
    await vi.advanceTimersByTimeAsync(11);
    const [receivedNs, sentNs] = [received, received + 1_000_000n].map(String);
    server.last.say({ type: 'pong', receivedNs, sentNs });
  }

  test('is not known until it was asked', async () => {
    expect(client.serverTime).toBeNull();
    server.last.accept();
    expect(server.last.pings).toBe(1);
    expect(client.serverTime).toBeNull();
    await exchange();
    expect(client.serverTime?.nowMs).toBeCloseTo(Date.now() + AHEAD_MS, 3);
    expect(client.serverTime?.errorMs).toBe(11);
  });

  test('is asked again, more often at first', async () => {
    server.last.accept();
    const asked: number[] = [];
    for (let second = 1; second <= 25; second++) {
      const before = server.last.pings;
      await vi.advanceTimersByTimeAsync(1_000);
      server.last.say({ type: 'status', status: 'live' });
      if (server.last.pings > before) asked.push(second);
    }
    expect(asked).toEqual([1, 2, 3, 10, 20]);
  });

  test('stays while the connection is lost, and begins anew with the next answer', async () => {
    server.last.accept();
    await exchange();
    server.last.drop();
    expect(client.serverTime?.nowMs).toBeCloseTo(Date.now() + AHEAD_MS, 3);
    await vi.advanceTimersByTimeAsync(250);
    server.last.accept();
    const other = String(BigInt(Date.now() + 5) * 1_000_000n);
    server.last.say({ type: 'pong', receivedNs: other, sentNs: other });
    expect(client.serverTime?.nowMs).toBeCloseTo(Date.now() + 5, 3);
  });

  test.each([3_600_000, -3_600_000])('is void when this clock is set by %d ms', async (step) => {
    server.last.accept();
    await exchange();
    vi.setSystemTime(Date.now() + step);
    expect(client.serverTime).toBeNull();
    server.last.say({ type: 'pong', receivedNs: '1', sentNs: '1' });
    expect(client.serverTime).toBeNull();
    await vi.advanceTimersByTimeAsync(1_000);
    const now = String(BigInt(Date.now()) * 1_000_000n);
    server.last.say({ type: 'pong', receivedNs: now, sentNs: now });
    const { nowMs, errorMs } = client.serverTime ?? { nowMs: 0, errorMs: 0 };
    expect(Math.abs(nowMs - Date.now())).toBeLessThan(errorMs);
  });

  test('is not known from a gateway that does not say it', async () => {
    server.last.accept();
    server.last.say({ type: 'pong' });
    await vi.advanceTimersByTimeAsync(1_000);
    expect(client.serverTime).toBeNull();
  });
});

describe('onStale and onLive', () => {
  test('say what the gateway says of its feed, and what became of the connection', async () => {
    client.close();
    const said: string[] = [];
    client = open({ onStale: (why) => said.push(why), onLive: () => said.push('live') });
    server.last.accept();
    server.last.say({ type: 'status', status: 'stale' });
    server.last.say({ type: 'status', status: 'stale' });
    server.last.say({ type: 'status', status: 'live' });
    server.last.drop();
    await vi.advanceTimersByTimeAsync(250);
    server.last.accept();
    expect(said).toEqual(['live', 'feed', 'live', 'connection', 'live']);
  });
});

describe('onGap', () => {
  test('a hole in the sequence is told with its size', () => {
    const { gaps } = follow('AAPL');
    server.last.accept();
    server.last.update('AAPL', 1);
    server.last.update('AAPL', 5);
    expect(gaps).toEqual([{ symbol: 'AAPL', missed: 3n }]);
  });

  test('what was conflated is no gap', () => {
    const { gaps } = follow('AAPL');
    server.last.accept();
    server.last.update('AAPL', 1);
    server.last.update('AAPL', 5, { conflated: 3 });
    expect(gaps).toEqual([]);
  });

  test('a fresh snapshot after a resume is a gap of unknown size', () => {
    const { gaps, seen } = follow('AAPL');
    server.last.accept();
    server.last.update('AAPL', 9);
    server.last.update('AAPL', 1, { recovered: false, epoch: '8' });
    expect(gaps).toEqual([{ symbol: 'AAPL', missed: null }]);
    expect(seen).toEqual(['AAPL:9', 'AAPL:1']);
  });

  test('sequences over 2^53 are told apart', () => {
    const { seen, gaps } = follow('AAPL');
    server.last.accept();
    for (const sequence of ['9007199254740992', '9007199254740993', '9007199254740995']) {
      const data = { symbol: 'AAPL', sequence, epoch: '7' };
      server.last.say({ type: 'update', id: '1', recovered: null, conflated: 0, data });
    }
    expect(seen).toHaveLength(3);
    expect(gaps).toEqual([{ symbol: 'AAPL', missed: 1n }]);
  });

  test('what was seen before is dropped', () => {
    const { seen } = follow('AAPL');
    server.last.accept();
    server.last.update('AAPL', 2);
    server.last.update('AAPL', 2);
    server.last.update('AAPL', 1);
    expect(seen).toEqual(['AAPL:2']);
  });
});

describe('errors', () => {
  test('a refused subscription ends alone, the others go on', async () => {
    const errors: StreamError[] = [];
    follow('AAPL');
    client.subscribe(
      { symbols: ['A!'] },
      { onUpdate: () => undefined, onError: (error) => errors.push(error) },
    );
    server.last.accept();
    const error = { type: 'error', id: server.last.id(), code: 'invalid_input', message: 'A!' };
    server.last.say(error);
    server.last.drop(4400);
    expect(errors).toMatchObject([{ code: 'invalid_input', message: 'A!' }]);
    await vi.advanceTimersByTimeAsync(250);
    server.last.accept();
    expect(server.last.subscribes()).toMatchObject([{ symbols: ['AAPL'] }]);
  });

  test('a mistake that nobody can be blamed for is not repeated for ever', () => {
    server.last.accept();
    server.last.say({ type: 'error', id: null, code: 'malformed_message', message: 'no' });
    server.last.drop(4400);
    expect(client.state).toMatchObject({ phase: 'closed', problem: { code: 'malformed_message' } });
  });

  test('a slow reader comes back and resumes', async () => {
    const { seen } = follow('AAPL');
    server.last.accept();
    server.last.update('AAPL', 3);
    server.last.say({ type: 'error', id: '1', code: 'slow_consumer', message: 'slow' });
    server.last.drop(4490);
    await vi.advanceTimersByTimeAsync(250);
    server.last.accept();
    server.last.update('AAPL', 4, { recovered: true });
    expect(seen).toEqual(['AAPL:3', 'AAPL:4']);
  });

  test('what is no message of ours is ignored', () => {
    const { seen } = follow('AAPL');
    server.last.accept();
    server.last.say({ type: 'from the future' });
    server.last.update('AAPL', 1);
    expect(seen).toEqual(['AAPL:1']);
  });
});

describe('bars', () => {
  function followBars(since?: string): Bar[] {
    const seen: Bar[] = [];
    const topic = { symbols: ['AAPL'], interval: '1m', ...(since && { since }) };
    client.bars(topic, { onBar: (each) => seen.push(each) });
    server.last.accept();
    return seen;
  }
  const say = (data: Bar) =>
    server.last.say({ type: 'update', id: server.last.id(), recovered: null, conflated: 0, data });

  test('are asked for by interval and since', () => {
    followBars('1735171200000');
    expect(server.last.subscribes()).toMatchObject([
      { symbols: ['AAPL'], interval: '1m', since: '1735171200000' },
    ]);
  });

  test('each newer state comes, an older one never does', () => {
    const seen = followBars();
    say(bar(0, { state: 'partial', sequence: '1' }));
    say(bar(0, { state: 'final', sequence: '3' }));
    say(bar(0, { state: 'early', sequence: '2' }));
    say(bar(0, { state: 'revised', revision: 1, sequence: '5' }));
    expect(seen.map((each) => each.state)).toEqual(['partial', 'final', 'revised']);
  });

  test('after a reconnect history begins where bars may have been revised meanwhile', async () => {
    const seen = followBars('1735171200000');
    for (let minute = 0; minute < 60; minute++) say(bar(minute, { sequence: String(minute + 1) }));
    server.last.drop();
    await vi.advanceTimersByTimeAsync(250);
    server.last.accept();
    // 20 minutes before the last one.
    expect(server.last.subscribes()).toMatchObject([{ since: bar(39).startNs }]);
    // What comes again is no news.
    say(bar(59, { sequence: '60' }));
    say(bar(58, { state: 'revised', revision: 1, sequence: '61' }));
    expect(seen).toHaveLength(61);
  });

  test('a bar that is longer than the time for revisions is asked for again', async () => {
    followBars('1735171200000');
    const hour = (n: number) => bar(60 * n, { endNs: bar(60 * (n + 1)).startNs });
    for (let n = 0; n < 3; n++) say({ ...hour(n), sequence: String(n + 1) });
    server.last.drop();
    await vi.advanceTimersByTimeAsync(250);
    server.last.accept();
    // A trade of the end of the second hour may have come in the third.
    expect(server.last.subscribes()).toMatchObject([{ since: hour(1).startNs }]);
  });

  test('of all symbols begin anew after a reconnect: there is no history of all', async () => {
    client.bars({ symbols: ['*'], interval: '1m' }, { onBar: () => undefined });
    server.last.accept();
    say(bar(0));
    server.last.drop();
    await vi.advanceTimersByTimeAsync(250);
    server.last.accept();
    expect(server.last.subscribes()).toEqual([
      { type: 'subscribe', id: '2', symbols: ['*'], policy: 'conflate', interval: '1m' },
    ]);
  });

  test('the end of an interval is told', () => {
    const ends: string[] = [];
    client.bars(
      { symbols: ['*'], interval: '1m' },
      { onBar: () => undefined, onIntervalComplete: (_, end) => ends.push(end) },
    );
    server.last.accept();
    server.last.say({ type: 'interval_complete', interval: '1m', end: '60000' });
    server.last.say({ type: 'interval_complete', interval: '5m', end: '300000' });
    expect(ends).toEqual(['60000']);
  });
});
