// The client of /api/v1/stream. Subscriptions are state: what is wanted is kept here, and each
// connection is told all of it, so that nobody has to subscribe again after a reconnect.

import { backoffMs } from './backoff';
import { ServerClock, type ServerTime } from './clock';
import { nsToMs } from './decimal';
import { parseMessage, type FeedStatus, type ServerMessage } from './messages';
import {
  StreamError,
  WantedBars,
  WantedUpdates,
  type BarHandlers,
  type BarTopic,
  type Topic,
  type UpdateHandlers,
  type Wanted,
} from './subscription';
import { streamUrl, webSocketTransport, type Transport, type TransportFactory } from './transport';

/** `connecting` → `open` → `waiting` (until `retryAt`) → `connecting` ...; `closed` is the end. */
export interface ConnectionState {
  readonly phase: 'connecting' | 'open' | 'waiting' | 'closed';
  /** What the gateway says of its own feed; `unknown` while we are not connected. */
  readonly feed: FeedStatus | 'unknown';
  /** When it connects again, by `Date.now()`; only while waiting. */
  readonly retryAt: number | null;
  /** Why it is not connected. */
  readonly problem: StreamError | null;
  /** Attempts that failed since it was open. */
  readonly attempts: number;
}

/** `connection`: not connected, or nothing was heard. `feed`: the gateway has lost its source. */
export type StaleReason = 'connection' | 'feed';

export interface ClientOptions {
  /** The gateway, `https://data.example.com`; by default where the page comes from. */
  readonly url?: string;
  /** Instead of a WebSocket to `url`. */
  readonly transport?: TransportFactory;
  readonly onState?: (state: ConnectionState) => void;
  /** From now on what was seen last may be old: show it so. */
  readonly onStale?: (reason: StaleReason) => void;
  /** It is current again. */
  readonly onLive?: () => void;
  /** The most symbols of one subscribe (GATEWAY_MAX_SYMBOLS_PER_REQUEST). */
  readonly maxSymbolsPerRequest?: number;
  /** After so long without a message the server is asked for one. */
  readonly pingAfterMs?: number;
  /** After so long without a message the connection counts as dead. */
  readonly deadAfterMs?: number;
  readonly random?: () => number;
}

export interface Subscription {
  /** End it. */
  close(): void;
}

export interface UpdateSubscription extends Subscription {
  /** Follow these instead; what is in both goes on without a gap. */
  setSymbols(symbols: readonly string[]): void;
}

// The client's own mistakes: the same would happen again.
const HOPELESS_CODES: ReadonlySet<number> = new Set([1002, 1003, 1007, 1009, 4400]);
const SERVICE_RESTART = 1012;
const DEFAULT_MAX_SYMBOLS = 500;
const DEFAULT_PING_AFTER_MS = 2_000;
const DEFAULT_DEAD_AFTER_MS = 6_000;
const LOOK_EVERY_MS = 1_000;
// A new connection asks for the time that often at once, one look after the other; then at times.
const FIRST_PINGS = 4;
const PING_EVERY_LOOKS = 10;
// The two clocks of this machine do not drift apart by that much between two looks at them.
const CLOCK_JUMP_MS = 50;

export class MarketDataClient {
  private current: ConnectionState = {
    phase: 'closed',
    feed: 'unknown',
    retryAt: null,
    problem: null,
    attempts: 0,
  };
  private stale: StaleReason | null = 'connection';
  private transport: Transport | null = null;
  private readonly wanted = new Set<Wanted>();
  // What this connection was told, by the id on the wire. An id is never used twice in one.
  private readonly onWire = new Map<string, Wanted>();
  private nextId = 1;
  private readonly changed = new Set<Wanted>();
  private reconciling = false;
  private lastError: StreamError | null = null;
  // When a gateway that stops wants us back; it spreads the returns of all clients.
  private returnAfterMs: number | null = null;
  private retryTimer: ReturnType<typeof setTimeout> | undefined;
  private livenessTimer: ReturnType<typeof setInterval> | undefined;
  // Looks in a row at which nothing had come since the one before.
  private silentLooks = 0;
  private looks = 0;
  private readonly clock = new ServerClock();
  // When each ping was sent that has no answer yet: answers come in their order.
  private pings: number[] = [];
  // How far the calendar of this machine is from its stopwatch.
  private calendarMs = NaN;
  private readonly newTransport: TransportFactory;
  private readonly maxSymbols: number;
  private readonly pingAfterMs: number;
  private readonly deadAfterMs: number;
  private readonly random: () => number;

  constructor(private readonly options: ClientOptions = {}) {
    this.newTransport =
      options.transport ?? (() => webSocketTransport(streamUrl(options.url ?? location.href)));
    this.maxSymbols = options.maxSymbolsPerRequest ?? DEFAULT_MAX_SYMBOLS;
    this.pingAfterMs = options.pingAfterMs ?? DEFAULT_PING_AFTER_MS;
    this.deadAfterMs = options.deadAfterMs ?? DEFAULT_DEAD_AFTER_MS;
    this.random = options.random ?? Math.random;
  }

  get state(): ConnectionState {
    return this.current;
  }

  /**
   * The server's time now, estimated over the connection; null: it is not known yet.
   *
   * Subtract from it, not from `Date.now()`: the clock of this machine may be minutes off.
   */
  get serverTime(): ServerTime | null {
    return this.clock.at(this.stopwatch());
  }

  /** Connect, and stay connected until `close`. */
  open(): void {
    if (this.current.phase === 'closed') this.connect(0);
  }

  /** End the connection. Subscriptions stay, for another `open`. */
  close(): void {
    this.dropTransport();
    clearTimeout(this.retryTimer);
    this.setState({ phase: 'closed', feed: 'unknown', retryAt: null, problem: null, attempts: 0 });
  }

  /** While it waits to reconnect: do so now. */
  retryNow(): void {
    if (this.current.phase === 'waiting') this.connect(this.current.attempts);
  }

  /** Follow the states of symbols: the present one first, then each later one. */
  subscribe(topic: Topic, handlers: UpdateHandlers): UpdateSubscription {
    const wanted = new WantedUpdates(topic, handlers);
    const subscription = this.add(wanted);
    return {
      ...subscription,
      setSymbols: (symbols) => {
        const changed = wanted.setSymbols(symbols);
        if (changed && this.wanted.has(wanted)) this.reconcileSoon(wanted);
      },
    };
  }

  /** Follow the bars of symbols: with `since` their history first, then each change. */
  bars(topic: BarTopic, handlers: BarHandlers): Subscription {
    return this.add(new WantedBars(topic, handlers));
  }

  private add(wanted: Wanted): Subscription {
    this.wanted.add(wanted);
    this.reconcileSoon(wanted);
    return {
      close: () => {
        if (this.wanted.delete(wanted)) this.reconcileSoon(wanted);
      },
    };
  }

  // Several changes in a row are one.
  private reconcileSoon(wanted: Wanted): void {
    this.changed.add(wanted);
    if (this.reconciling) return;
    this.reconciling = true;
    queueMicrotask(() => {
      this.reconciling = false;
      const changed = [...this.changed];
      this.changed.clear();
      if (this.current.phase === 'open') changed.forEach((each) => this.reconcile(each));
    });
  }

  // Let the wire have `wanted` as it is now.
  private reconcile(wanted: Wanted): void {
    for (const [id, each] of this.onWire) {
      if (each !== wanted) continue;
      this.onWire.delete(id);
      this.send({ type: 'unsubscribe', id });
    }
    if (!this.wanted.has(wanted)) return;
    for (const request of wanted.requests(this.maxSymbols)) {
      const id = String(this.nextId++);
      this.onWire.set(id, wanted);
      this.send({ type: 'subscribe', id, ...request });
    }
  }

  private connect(attempts: number): void {
    clearTimeout(this.retryTimer);
    this.onWire.clear();
    this.lastError = null;
    this.returnAfterMs = null;
    const { problem } = this.current;
    this.setState({ phase: 'connecting', feed: 'unknown', retryAt: null, problem, attempts });
    const transport = this.newTransport();
    this.transport = transport;
    this.silentLooks = this.looks = 0;
    this.pings = [];
    this.clock.renew();
    this.livenessTimer = setInterval(() => this.checkLiveness(), LOOK_EVERY_MS);
    // What an abandoned transport still says is not for us.
    const whileCurrent =
      <Args extends unknown[]>(act: (...args: Args) => void) =>
      (...args: Args) => {
        if (this.transport === transport) act(...args);
      };
    transport.connect({
      onOpen: whileCurrent(() => this.opened()),
      onMessage: whileCurrent((text: string) => this.received(text)),
      onClose: whileCurrent((code: number, reason: string) => this.ended(code, reason)),
    });
  }

  private opened(): void {
    this.silentLooks = 0;
    this.setState({ phase: 'open', feed: 'unknown', retryAt: null, problem: null, attempts: 0 });
    this.changed.clear();
    // Before anything that its answer would have to wait for.
    this.ping();
    for (const wanted of [...this.wanted]) this.reconcile(wanted);
  }

  private received(text: string): void {
    this.silentLooks = 0;
    const message = parseMessage(text);
    if (message !== null) this.dispatch(message);
  }

  private dispatch(message: ServerMessage): void {
    switch (message.type) {
      case 'update':
      case 'bar':
        this.onWire.get(message.id)?.receive(message);
        break;
      case 'status':
        if (message.status === 'server-shutdown') this.returnAfterMs = message.reconnectAfterMs;
        else this.setState({ ...this.current, feed: message.status });
        break;
      case 'interval_complete':
        if (message.id !== undefined) {
          this.onWire.get(message.id)?.complete(message.interval, message.end);
        } else {
          for (const wanted of this.wanted) wanted.complete(message.interval, message.end);
        }
        break;
      case 'error':
        this.failed(new StreamError(message.code, message.message), message.id);
        break;
      case 'pong':
        this.ponged(message);
        break;
      case 'subscribed':
      case 'unsubscribed':
        break;
    }
  }

  // The server's last message. If it is about one subscription, the others go on without that one.
  private failed(error: StreamError, id: string | null): void {
    this.lastError = error;
    const blamed = id === null ? undefined : this.onWire.get(id);
    // Not a fault of what was asked for.
    if (blamed === undefined || error.code === 'slow_consumer') return;
    this.wanted.delete(blamed);
    this.lastError = null;
    blamed.fail(error);
  }

  private ended(code: number, reason: string): void {
    this.dropTransport();
    const text = code === SERVICE_RESTART ? '' : reason;
    const problem = this.lastError ?? new StreamError(String(code), text || closeText(code));
    if (HOPELESS_CODES.has(code) && this.lastError !== null) {
      this.setState({ phase: 'closed', feed: 'unknown', retryAt: null, problem, attempts: 0 });
      return;
    }
    const attempts = this.current.attempts;
    const delay = this.returnAfterMs ?? backoffMs(attempts, this.random);
    this.setState({
      phase: 'waiting',
      feed: 'unknown',
      retryAt: Date.now() + delay,
      problem,
      attempts: attempts + 1,
    });
    this.retryTimer = setTimeout(() => this.connect(this.current.attempts), delay);
  }

  // A connection whose other end is gone without a word looks like one on which nothing happens.
  // Looks are counted, not time: a page that was busy or asleep comes here before it comes to the
  // messages that wait for it.
  private checkLiveness(): void {
    this.silentLooks += 1;
    this.looks += 1;
    const due = this.looks < FIRST_PINGS || this.looks % PING_EVERY_LOOKS === 0;
    const silence = this.silentLooks * LOOK_EVERY_MS;
    if (silence >= this.deadAfterMs) {
      this.ended(1006, `nothing heard for ${Math.round(this.deadAfterMs / 1000)} s`);
    } else if ((due || silence >= this.pingAfterMs) && this.current.phase === 'open') {
      this.ping();
    }
  }

  private ping(): void {
    this.pings.push(this.stopwatch());
    this.send({ type: 'ping' });
  }

  private ponged({ receivedNs, sentNs }: Extract<ServerMessage, { type: 'pong' }>): void {
    const askedMs = this.pings.shift();
    const answeredMs = this.stopwatch();
    // A gateway of an earlier version does not say its time.
    if (askedMs === undefined || receivedNs === undefined || sentNs === undefined) return;
    const [receivedMs, sentMs] = [nsToMs(receivedNs), nsToMs(sentNs)];
    this.clock.take({ askedMs, answeredMs, receivedMs, sentMs });
  }

  // A stopwatch is not set when somebody sets the clock, but some stand still while the machine
  // sleeps. Either way it leaves the calendar, and what was known of the server's time is void.
  private stopwatch(): number {
    const now = performance.now();
    const calendarMs = Date.now() - now;
    if (Math.abs(calendarMs - this.calendarMs) > CLOCK_JUMP_MS) {
      this.clock.forget();
      this.pings = this.pings.map(() => NaN);
    }
    this.calendarMs = calendarMs;
    return now;
  }

  private dropTransport(): void {
    clearInterval(this.livenessTimer);
    const transport = this.transport;
    this.transport = null;
    this.onWire.clear();
    transport?.close();
  }

  private send(message: Record<string, unknown>): void {
    this.transport?.send(JSON.stringify(message));
  }

  private setState(state: ConnectionState): void {
    const before = this.current;
    this.current = state;
    // Between open and the first status nothing is known; it comes at once.
    const stale =
      state.feed === 'live' ? null : state.feed === 'stale' ? 'feed' : ('connection' as const);
    const staleBefore = this.stale;
    this.stale = stale;
    if (!sameState(before, state)) this.options.onState?.(state);
    if (stale === staleBefore) return;
    if (stale === null) this.options.onLive?.();
    else this.options.onStale?.(stale);
  }
}

function sameState(a: ConnectionState, b: ConnectionState): boolean {
  return (
    a.phase === b.phase &&
    a.feed === b.feed &&
    a.retryAt === b.retryAt &&
    a.problem === b.problem &&
    a.attempts === b.attempts
  );
}

const CLOSE_TEXTS: Readonly<Record<number, string>> = {
  1000: 'the server ended the connection',
  1001: 'the server stops',
  1006: 'the connection was lost',
  1011: 'the server had a problem',
  1012: 'the server restarts',
};

function closeText(code: number): string {
  return CLOSE_TEXTS[code] ?? `closed with code ${code}`;
}
