// What somebody wants to follow, and how far that has come. It outlives connections.

import { BarSeries } from './bars';
import { compareDecimal } from './decimal';
import type { Aggregate, Bar, Int64, Policy, ServerMessage, Update } from './messages';
import { isBar } from './messages';
import { Sequences, type Gap } from './sequences';

/** A subscription that the server refused, or the reason for which it ended a connection. */
export class StreamError extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
    this.name = 'StreamError';
  }
}

export interface UpdateHandlers {
  onUpdate(update: Update<Aggregate>): void;
  /** States were lost before the update that follows. */
  onGap?(gap: Gap): void;
  /** The server refuses it; the subscription has ended. */
  onError?(error: StreamError): void;
}

export interface BarHandlers {
  /** A bar that is new, or a newer state of one: partial, early, final, revised. */
  onBar(bar: Bar): void;
  /** Every bar that ends there has come. */
  onIntervalComplete?(interval: string, end: Int64): void;
  onError?(error: StreamError): void;
}

export interface Topic {
  /** `*` among them is every symbol. */
  readonly symbols: readonly string[];
  readonly policy?: Policy;
}

export interface BarTopic extends Topic {
  /** Such as `1m`. */
  readonly interval: string;
  /** History from this time on comes first, of symbols by name; ms, ns or ISO 8601. */
  readonly since?: string;
}

/** What the client keeps of each subscription. */
export interface Wanted {
  readonly symbols: readonly string[];
  /** The messages that ask for it, each without its id, continuing where it is. */
  requests(maxSymbols: number): Record<string, unknown>[];
  receive(message: Extract<ServerMessage, { type: 'update' | 'bar' }>): void;
  complete(interval: string, end: Int64): void;
  fail(error: StreamError): void;
}

const ALL = '*';

export class WantedUpdates implements Wanted {
  symbols: readonly string[];
  private readonly sequences = new Sequences();
  // Null: all.
  private members: ReadonlySet<string> | null = null;

  constructor(
    private readonly topic: Topic,
    private readonly handlers: UpdateHandlers,
  ) {
    this.symbols = [];
    this.setSymbols(topic.symbols);
  }

  /** Return whether that is a change. */
  setSymbols(symbols: readonly string[]): boolean {
    const before = this.symbols;
    const members = new Set(symbols);
    this.symbols = [...members];
    this.members = members.has(ALL) ? null : members;
    return before.length !== members.size || before.some((symbol) => !members.has(symbol));
  }

  requests(maxSymbols: number): Record<string, unknown>[] {
    const policy = this.topic.policy ?? 'conflate';
    return inChunks(this.symbols, maxSymbols).map((symbols) => {
      const named = symbols.includes(ALL) ? null : symbols;
      const resume = this.sequences.resume(named, maxSymbols);
      return { symbols, policy, ...(resume && { resume }) };
    });
  }

  receive(message: Extract<ServerMessage, { type: 'update' | 'bar' }>): void {
    if (isBar(message.data)) return;
    const update = message as Update<Aggregate>;
    if (this.members !== null && !this.members.has(update.data.symbol)) return;
    const verdict = this.sequences.take(update);
    if (verdict === 'duplicate') return;
    if (verdict.gap !== null) this.handlers.onGap?.(verdict.gap);
    this.handlers.onUpdate(update);
  }

  complete(): void {}

  fail(error: StreamError): void {
    this.handlers.onError?.(error);
  }
}

// A bar is revised for 15 minutes; what changed while we were away is asked for again.
const REVISED_FOR_NS = 20n * 60n * 1_000_000_000n;
// Of each symbol, to know which states are new. An hour of seconds.
const REMEMBERED_BARS = 3600;

export class WantedBars implements Wanted {
  readonly symbols: readonly string[];
  private readonly series = new Map<string, BarSeries>();

  constructor(
    private readonly topic: BarTopic,
    private readonly handlers: BarHandlers,
  ) {
    this.symbols = [...new Set(topic.symbols)];
  }

  requests(maxSymbols: number): Record<string, unknown>[] {
    const policy = this.topic.policy ?? 'conflate';
    const { interval } = this.topic;
    return inChunks(this.symbols, maxSymbols).map((symbols) => {
      const since = this.since();
      return { symbols, policy, interval, ...(since !== undefined && { since }) };
    });
  }

  receive(message: Extract<ServerMessage, { type: 'update' | 'bar' }>): void {
    if (!isBar(message.data)) return;
    const bar = message.data;
    let series = this.series.get(bar.symbol);
    if (series === undefined) {
      series = new BarSeries(REMEMBERED_BARS);
      this.series.set(bar.symbol, series);
    }
    if (series.put(bar) !== null) this.handlers.onBar(bar);
  }

  complete(interval: string, end: Int64): void {
    if (interval === this.topic.interval) this.handlers.onIntervalComplete?.(interval, end);
  }

  fail(error: StreamError): void {
    this.handlers.onError?.(error);
  }

  // Where history has to begin so that nothing is missing: at first as asked, later a bit before the
  // newest bar of the symbol that is furthest behind.
  private since(): string | undefined {
    // The gateway has no history of all symbols at once.
    if (this.symbols.includes(ALL)) return undefined;
    let oldest: string | undefined;
    for (const series of this.series.values()) {
      const { last } = series;
      if (last === undefined) continue;
      // A bar may be longer than the time for revisions, so its end counts.
      const after = String(BigInt(last.startNs) - REVISED_FOR_NS);
      const from = series.firstEndingAfter(after)?.startNs ?? last.startNs;
      if (oldest === undefined || compareDecimal(from, oldest) < 0) oldest = from;
    }
    // A symbol that has shown nothing yet still needs all of its history.
    const unseen = this.symbols.some((symbol) => !this.series.has(symbol));
    return oldest === undefined || (unseen && this.topic.since !== undefined)
      ? this.topic.since
      : oldest;
  }
}

function inChunks(symbols: readonly string[], size: number): string[][] {
  if (symbols.includes(ALL)) return [[ALL]];
  const chunks: string[][] = [];
  for (let at = 0; at < symbols.length; at += size) chunks.push(symbols.slice(at, at + size));
  return chunks;
}
