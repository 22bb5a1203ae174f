import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { listenToEvents } from '../src/client/events';

class FakeEventSource extends EventTarget {
  static readonly CLOSED = 2;
  static made: FakeEventSource[] = [];
  readyState = 1;
  onerror: (() => void) | null = null;

  constructor(readonly url: URL) {
    super();
    FakeEventSource.made.push(this);
  }

  close(): void {
    this.readyState = FakeEventSource.CLOSED;
  }

  fail(readyState: number): void {
    this.readyState = readyState;
    this.onerror?.();
  }
}

beforeEach(() => {
  FakeEventSource.made = [];
  vi.useFakeTimers();
  vi.stubGlobal('EventSource', FakeEventSource);
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test('a stream that a proxy answered with 502 comes back after the last event', () => {
  const seen: string[] = [];
  const end = listenToEvents('http://h/api/v1/stream?symbols=A', ({ data }) => seen.push(data));
  const [first] = FakeEventSource.made;
  first?.dispatchEvent(new MessageEvent('update', { data: '1', lastEventId: '7:A=1' }));
  // What a browser does for an answer that is not a 200.
  first?.fail(FakeEventSource.CLOSED);
  vi.advanceTimersByTime(3_000);
  const [, second] = FakeEventSource.made;
  expect(second?.url.href).toBe('http://h/api/v1/stream?symbols=A&lastEventId=7%3AA%3D1');
  second?.dispatchEvent(new MessageEvent('update', { data: '2' }));
  expect(seen).toEqual(['1', '2']);
  end();
  expect(second?.readyState).toBe(FakeEventSource.CLOSED);
});

test('a lost connection is left to the browser', () => {
  listenToEvents('http://h/api/v1/stream', () => {});
  FakeEventSource.made[0]?.fail(0);
  vi.advanceTimersByTime(10_000);
  expect(FakeEventSource.made.length).toBe(1);
});

test('after its end nothing comes back', () => {
  const end = listenToEvents('http://h/api/v1/stream', () => {});
  FakeEventSource.made[0]?.fail(FakeEventSource.CLOSED);
  end();
  vi.advanceTimersByTime(10_000);
  expect(FakeEventSource.made.length).toBe(1);
});
