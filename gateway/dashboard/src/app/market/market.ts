// The market as this page knows it: the client, the quotes, and how well it goes.

import {
  MarketDataClient,
  RestClient,
  msBetween,
  msToNs,
  type Aggregate,
  type ConnectionState,
  type ServerTime,
  type TransportFactory,
  type Update,
  type UpdateSubscription,
} from '../../client';
import { Frames } from './frames';
import type { Measured } from './format';
import { LatencyWindow, RateMeter, quantile } from './metrics';
import { QuoteBook, type Quote } from './quotes';
import { loadWatching, saveWatching, topicsOf, type Watching } from './watching';

// Beyond this a trade is history that is replayed, and its age says nothing about us.
const LIVE_WITHIN_MS = 60_000;

export interface MarketOptions {
  readonly transport?: TransportFactory;
}

export class Market {
  readonly rest = new RestClient();
  readonly quotes = new QuoteBook();
  readonly frames = new Frames<Quote>();
  readonly latency = new LatencyWindow();
  readonly updates = new RateMeter();
  readonly client: MarketDataClient;
  watching: Watching = loadWatching();
  /** States that the gateway left out because we read too slowly. */
  conflated = 0;
  received = 0;
  /** States lost in a way that cannot be made good. */
  gaps = 0;
  /** When the newest update came, by `Date.now()`. */
  updatedAt: number | null = null;
  /** Since when what is shown may be old; null: it is current. */
  staleSince: number | null = Date.now();
  /** Counts changes of which symbols there are, and of `watching`. */
  membership = 0;
  private selected = '';
  // What comes first after a change of it is what was there before, however old.
  private round = 0;
  private readonly listeners = new Set<() => void>();
  private readonly subscription: UpdateSubscription;

  constructor(options: MarketOptions = {}) {
    this.client = new MarketDataClient({
      ...options,
      onState: () => this.tell(),
      onStale: () => {
        this.round += 1;
        this.staleSince = Date.now();
        this.tell();
      },
      onLive: () => {
        this.round += 1;
        this.staleSince = null;
        this.tell();
      },
    });
    this.watching.named.forEach((symbol) => this.quotes.open(symbol));
    this.subscription = this.client.subscribe(
      { symbols: topicsOf(this.watching, '') },
      { onUpdate: (update) => this.take(update), onGap: () => (this.gaps += 1) },
    );
    this.frames.onDraw((changed) => this.measure(changed));
    this.client.open();
    addEventListener('online', () => this.client.retryNow());
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden) this.client.retryNow();
    });
  }

  get connection(): ConnectionState {
    return this.client.state;
  }

  /** The gateway's time, which ages are told by; null: it is not known yet. */
  get time(): ServerTime | null {
    return this.client.serverTime;
  }

  /** Return the latency under which a share `q` of the last ten seconds lies; null: not known. */
  latencyAt(q: number): Measured | null {
    const ms = quantile(this.latency.counts(performance.now()), q);
    const { time } = this;
    return ms === null || time === null ? null : { ms, errorMs: time.errorMs };
  }

  /** Come back over a new connection. */
  reconnect(): void {
    this.client.close();
    this.client.open();
  }

  /** Call `listener` at each change of the connection or of what is watched. */
  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  /** Follow `symbol` too, whatever the watchlist says: it is on the chart. */
  select(symbol: string): void {
    if (symbol === this.selected) return;
    const { all, named } = this.watching;
    if (!all && this.selected !== '' && !named.includes(this.selected)) {
      this.quotes.delete(this.selected);
    }
    this.selected = symbol;
    this.quotes.open(symbol);
    this.watch(this.watching);
  }

  add(symbol: string): void {
    if (this.watching.named.includes(symbol)) return;
    this.quotes.open(symbol);
    this.watch({ ...this.watching, named: [...this.watching.named, symbol] });
  }

  remove(symbol: string): void {
    const named = this.watching.named.filter((each) => each !== symbol);
    if (!this.watching.all && symbol !== this.selected) this.quotes.delete(symbol);
    this.watch({ ...this.watching, named });
  }

  watchAll(all: boolean): void {
    if (!all) {
      const kept = new Set([...this.watching.named, this.selected]);
      for (const { symbol } of [...this.quotes.all()]) {
        if (!kept.has(symbol)) this.quotes.delete(symbol);
      }
    }
    this.watch({ ...this.watching, all });
  }

  private watch(watching: Watching): void {
    this.round += 1;
    this.watching = watching;
    saveWatching(watching);
    this.subscription.setSymbols(topicsOf(watching, this.selected));
    this.membership += 1;
    this.tell();
  }

  private take(update: Update<Aggregate>): void {
    const now = Date.now();
    const before = this.quotes.size;
    const quote = this.quotes.take(update, now, this.round);
    if (this.quotes.size !== before) this.membership += 1;
    this.received += 1;
    this.conflated += update.conflated;
    this.updatedAt = now;
    this.updates.count(now);
    this.frames.mark(quote);
  }

  // What is drawn in this frame left the exchange so long ago.
  private measure(changed: ReadonlySet<Quote>): void {
    const { time } = this;
    if (time === null) return;
    const nowNs = msToNs(time.nowMs);
    for (const { data, prompt } of changed) {
      if (!prompt || data?.timestampNs == null) continue;
      const latency = msBetween(BigInt(data.timestampNs), nowNs);
      if (Math.abs(latency) >= LIVE_WITHIN_MS) continue;
      // Less than nothing may be the estimate's error, and no more than that.
      const isError = latency < 0 && latency >= -time.errorMs;
      this.latency.record(isError ? 0 : latency, performance.now());
    }
  }

  private tell(): void {
    for (const listener of this.listeners) listener();
  }
}
