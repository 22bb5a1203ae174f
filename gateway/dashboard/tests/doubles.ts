// A server that does what it is told, on the other end of a transport.

import type { Aggregate, Bar, Transport, TransportEvents } from '../src/client';

type Message = Record<string, unknown> & { type: string };

export class FakeServer {
  readonly connections: FakeConnection[] = [];

  readonly transport = (): Transport => {
    const connection = new FakeConnection();
    this.connections.push(connection);
    return connection;
  };

  get last(): FakeConnection {
    const last = this.connections[this.connections.length - 1];
    if (last === undefined) throw new Error('nobody connected');
    return last;
  }
}

export class FakeConnection implements Transport {
  readonly sent: Message[] = [];
  /** How many pings came; they are not among `sent`. */
  pings = 0;
  closedByClient = false;
  private events: TransportEvents | null = null;

  connect(events: TransportEvents): void {
    this.events = events;
  }

  send(text: string): void {
    const message = JSON.parse(text) as Message;
    if (message.type === 'ping') this.pings += 1;
    else this.sent.push(message);
  }

  close(): void {
    this.closedByClient = true;
  }

  accept(status: 'live' | 'stale' = 'live'): void {
    this.events?.onOpen();
    this.say({ type: 'status', status });
  }

  say(message: object): void {
    this.events?.onMessage(JSON.stringify(message));
  }

  drop(code = 1006, reason = ''): void {
    this.events?.onClose(code, reason);
  }

  subscribes(): Message[] {
    return this.sent.filter((message) => message.type === 'subscribe');
  }

  /** The id of the newest subscribe. */
  id(): string {
    const subscribes = this.subscribes();
    return String(subscribes[subscribes.length - 1]?.id);
  }

  update(symbol: string, sequence: number, more: object = {}): void {
    const { id = this.id(), recovered = null, conflated = 0, epoch = '7' } = more as Record<
      string,
      unknown
    >;
    const data = aggregate(symbol, { sequence: String(sequence), epoch: String(epoch) });
    this.say({ type: 'update', id, recovered, conflated, data });
  }
}

export function aggregate(symbol: string, more: Partial<Aggregate> = {}): Aggregate {
  return {
    symbol,
    open: 100,
    high: 102,
    low: 99,
    close: 101,
    volume: '9007199254740993',
    timestamp: '1735201234567',
    timestampNs: '1735201234567890123',
    trades: '12',
    vwap: 100.5,
    complete: true,
    coverage: 'full',
    refused: '0',
    sequence: '1',
    epoch: '7',
    ...more,
  };
}

/** The bar of AAPL that begins `minute` minutes after midnight. */
export function bar(minute: number, more: Partial<Bar> = {}): Bar {
  const startMs = 1_735_171_200_000 + minute * 60_000;
  return {
    symbol: 'AAPL',
    interval: '1m',
    start: String(startMs),
    end: String(startMs + 60_000),
    startNs: `${startMs}000000`,
    endNs: `${startMs + 60_000}000000`,
    open: 100,
    high: 102,
    low: 99,
    close: 101,
    volume: '1000',
    trades: '10',
    vwap: 100.5,
    state: 'final',
    revision: 0,
    complete: true,
    coverage: 'full',
    refused: '0',
    filler: null,
    phase: null,
    number: 0,
    sequence: '1',
    epoch: '7',
    ...more,
  };
}
