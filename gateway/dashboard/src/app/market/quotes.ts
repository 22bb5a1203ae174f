// What is known of each symbol now. Pure: no clock, no DOM.

import { nsToMs, type Aggregate, type ServerTime, type Update } from '../../client';
import { decimalsOf, type Measured } from './format';

/** The last closes of a symbol, one per bucket of time: what a sparkline shows. */
export class Spark {
  private readonly values: number[] = [];
  private bucket = -Infinity;

  constructor(
    private readonly length: number,
    private readonly bucketMs: number,
  ) {}

  get points(): readonly number[] {
    return this.values;
  }

  /** Count `value` in; return whether the line changed. */
  push(value: number, nowMs: number): boolean {
    const bucket = Math.floor(nowMs / this.bucketMs);
    const last = this.values.length - 1;
    if (bucket === this.bucket) {
      if (this.values[last] === value) return false;
      this.values[last] = value;
      return true;
    }
    this.bucket = bucket;
    this.values.push(value);
    if (this.values.length > this.length) this.values.shift();
    return true;
  }
}

export const SPARK_POINTS = 40;
export const SPARK_BUCKET_MS = 2_000;

export interface Quote {
  readonly symbol: string;
  /** Null: nothing has come yet. */
  data: Aggregate | null;
  readonly spark: Spark;
  /** Where the last change of the price went. */
  direction: -1 | 0 | 1;
  /** Counts changes of the price. */
  moves: number;
  /** Names the connection and subscription that the newest state came by. */
  round: number;
  /** Whether it came when it happened: not as part of what a subscription begins with. */
  prompt: boolean;
  /** Digits after the point that its prices have shown; columns stay aligned by it. */
  decimals: number;
}

export class QuoteBook {
  private readonly quotes = new Map<string, Quote>();

  get size(): number {
    return this.quotes.size;
  }

  get(symbol: string): Quote | undefined {
    return this.quotes.get(symbol);
  }

  all(): Iterable<Quote> {
    return this.quotes.values();
  }

  /** Return the quote of `symbol`, which may be one that nobody has heard of yet. */
  open(symbol: string): Quote {
    let quote = this.quotes.get(symbol);
    if (quote === undefined) {
      const spark = new Spark(SPARK_POINTS, SPARK_BUCKET_MS);
      quote = { symbol, data: null, spark, direction: 0, moves: 0, round: -1, prompt: false, decimals: 2 };
      this.quotes.set(symbol, quote);
    }
    return quote;
  }

  delete(symbol: string): void {
    this.quotes.delete(symbol);
  }

  /** Take a state that came at `nowMs`; `round` names the connection and subscription. */
  take(update: Update<Aggregate>, nowMs: number, round: number): Quote {
    const { data } = update;
    const quote = this.open(data.symbol);
    quote.prompt = quote.round === round && update.recovered === null;
    quote.round = round;
    const before = quote.data?.close ?? null;
    widen(quote, data);
    quote.data = data;
    if (data.close === null) return quote;
    quote.spark.push(data.close, nowMs);
    if (before !== null && data.close !== before) {
      quote.direction = data.close > before ? 1 : -1;
      quote.moves += 1;
    }
    return quote;
  }
}

// Rounding would show a price that was never paid. What did not change was looked at before.
function widen(quote: Quote, { open, high, low, close }: Aggregate): void {
  const before = quote.data;
  if (close !== null && close !== before?.close) widenTo(quote, close);
  if (open !== null && open !== before?.open) widenTo(quote, open);
  if (high !== null && high !== before?.high) widenTo(quote, high);
  if (low !== null && low !== before?.low) widenTo(quote, low);
}

function widenTo(quote: Quote, price: number): void {
  quote.decimals = Math.max(quote.decimals, decimalsOf(price));
}

/** Change since the open of the session; null: not known. */
export function changeOf(data: Aggregate | null): number | null {
  if (data === null || data.open === null || data.close === null) return null;
  return data.close - data.open;
}

/** The same in percent of the open. */
export function changePercentOf(data: Aggregate | null): number | null {
  const change = changeOf(data);
  return change === null || !data?.open ? null : (100 * change) / data.open;
}

/** How long ago the last trade was; null: there was none, or the time is not known. */
export function ageOf(data: Aggregate | null, time: ServerTime | null): Measured | null {
  if (data?.timestampNs == null || time === null) return null;
  return { ms: time.nowMs - nsToMs(data.timestampNs), errorMs: time.errorMs };
}
