// Bars in order, and which of two states of a bar is the newer one.

import { compareDecimal } from './decimal';
import type { Bar } from './messages';

/** Return what tells the bars of one symbol and interval apart. */
export function barKey(bar: Bar): string {
  return `${bar.startNs}/${bar.number}`;
}

/** Order bars by start, then number. */
export function compareBars(a: Bar, b: Bar): number {
  return compareDecimal(a.startNs, b.startNs) || a.number - b.number;
}

/** Whether the bar is closed: only a revision changes it. */
export function isClosed(bar: Bar): boolean {
  return bar.state === 'final' || bar.state === 'revised';
}

/** Whether `bar` is a newer state of the same bar than `known`. */
export function isNewer(bar: Bar, known: Bar): boolean {
  // A filler stands where nothing is known to have happened.
  if ((bar.filler === null) !== (known.filler === null)) return bar.filler === null;
  if (bar.revision !== known.revision) return bar.revision > known.revision;
  if (isClosed(bar) !== isClosed(known)) return isClosed(bar);
  // Epochs are times, so a later run of the aggregator has the greater one.
  const byEpoch = compareDecimal(bar.epoch, known.epoch);
  return byEpoch !== 0 ? byEpoch > 0 : compareDecimal(bar.sequence, known.sequence) > 0;
}

export type Change =
  /** The bar is after all others. */
  | 'appended'
  /** A newer state of a bar that was there; `index` says where. */
  | 'replaced'
  /** Before others, where there was none. */
  | 'inserted';

/** The bars of one symbol and interval, by start; each in its newest state. */
export class BarSeries {
  private readonly bars: Bar[] = [];

  /** Bars beyond `max` go, the oldest first. */
  constructor(private readonly max = Infinity) {}

  get all(): readonly Bar[] {
    return this.bars;
  }

  get first(): Bar | undefined {
    return this.bars[0];
  }

  get last(): Bar | undefined {
    return this.bars[this.bars.length - 1];
  }

  /** The first bar that ends after `ns`. */
  firstEndingAfter(ns: string): Bar | undefined {
    return this.bars.find((bar) => compareDecimal(bar.endNs, ns) > 0);
  }

  /** Take a state; null if it says nothing new. */
  put(bar: Bar): { change: Change; index: number } | null {
    const at = this.search(bar);
    const known = this.bars[at];
    if (known !== undefined && compareBars(known, bar) === 0) {
      if (!isNewer(bar, known)) return null;
      this.bars[at] = bar;
      return { change: 'replaced', index: at };
    }
    if (at === 0 && this.bars.length >= this.max) return null;
    const change = at === this.bars.length ? 'appended' : 'inserted';
    this.bars.splice(at, 0, bar);
    if (this.bars.length > this.max) {
      this.bars.shift();
      return { change, index: at - 1 };
    }
    return { change, index: at };
  }

  // The place of the first bar that is not before `bar`. Nearly always it is one of the last two.
  private search(bar: Bar): number {
    let low = 0;
    let high = this.bars.length;
    while (low < high) {
      const near = high - low > 4 && high === this.bars.length ? high - 2 : (low + high) >> 1;
      const other = this.bars[near];
      if (other !== undefined && compareBars(other, bar) < 0) low = near + 1;
      else high = near;
    }
    return low;
  }
}
