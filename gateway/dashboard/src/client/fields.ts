// Written by `make fields` from marketdata/fields.py.

/** A 64-bit integer in decimal digits: JavaScript's numbers end at 2^53. */
export type Int64 = string;

/** An exact decimal: digits, which may have a point among them. */
export type Decimal = string;

/** The state of one symbol in its session. Null: nothing is known. */
export interface Aggregate {
  readonly symbol: string;
  readonly open: number | null;
  readonly high: number | null;
  readonly low: number | null;
  readonly close: number | null;
  readonly volume: Decimal | null;
  /** exchange time of close; milliseconds since 1970-01-01T00:00Z */
  readonly timestamp: Int64 | null;
  /** timestamp in nanoseconds */
  readonly timestampNs: Int64 | null;
  /** trades of the session */
  readonly trades: Int64 | null;
  /** volume-weighted average price */
  readonly vwap: number | null;
  /** whether coverage is full and no tick of its time was refused */
  readonly complete: boolean | null;
  /** for how much of the session, so far, a producer was connected */
  readonly coverage: 'no_feed' | 'partial' | 'full' | null;
  /** number of ticks of its time that were refused */
  readonly refused: Int64 | null;
  /** counts the published states within one epoch: 1, 2, 3, ... */
  readonly sequence: Int64 | null;
  /** names one run of the aggregator's state; sequences compare only within one epoch */
  readonly epoch: Int64 | null;
}

/** What was traded of one symbol with start <= exchange time < end. */
export interface Bar {
  readonly symbol: string;
  readonly interval: string;
  /** start of the bar; milliseconds since 1970-01-01T00:00Z */
  readonly start: Int64;
  /** end of the bar; of tick, volume and notional bars the time of the last trade; milliseconds since 1970-01-01T00:00Z */
  readonly end: Int64;
  /** start in nanoseconds */
  readonly startNs: Int64;
  /** end in nanoseconds */
  readonly endNs: Int64;
  readonly open: number | null;
  readonly high: number | null;
  readonly low: number | null;
  readonly close: number | null;
  readonly volume: Decimal;
  /** number of trades */
  readonly trades: Int64;
  /** volume-weighted average price */
  readonly vwap: number | null;
  /** partial: its end has not passed; early: its grace has not; revised: a late tick changed it after it was final */
  readonly state: 'partial' | 'early' | 'final' | 'revised';
  /** how often it changed after it was final */
  readonly revision: number;
  /** whether coverage is full and no tick of its time was refused */
  readonly complete: boolean;
  /** for how much of its time a producer was connected */
  readonly coverage: 'no_feed' | 'partial' | 'full';
  /** number of ticks of its time that were refused */
  readonly refused: Int64;
  /** why it has no trades of its own; null: it has */
  readonly filler: 'no_trades' | 'no_feed' | 'refused' | null;
  /** pre, regular, post or closed, where the symbol has a calendar */
  readonly phase: string | null;
  /** tells tick, volume and notional bars of the same start apart */
  readonly number: number;
  /** counts the published states within one epoch: 1, 2, 3, ... */
  readonly sequence: Int64;
  /** names one run of the aggregator's state; sequences compare only within one epoch */
  readonly epoch: Int64;
}
