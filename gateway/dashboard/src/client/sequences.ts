// Where a subscription is in the states of each symbol.

import { compareDecimal } from './decimal';
import type { Aggregate, Update } from './messages';

/** States that were lost between two updates. */
export interface Gap {
  readonly symbol: string;
  /** How many; null: that is not known. */
  readonly missed: bigint | null;
}

/** `duplicate`: seen before. Else it counts as seen now, and `gap` says what is missing before. */
export type Verdict = 'duplicate' | { readonly gap: Gap | null };

const NEXT: Verdict = { gap: null };

interface Position {
  sequence: string;
  epoch: string;
}

export class Sequences {
  private readonly positions = new Map<string, Position>();
  // The epoch of the newest update.
  private epoch = '0';

  /** Count `update` as seen, unless it was. */
  take(update: Update<Aggregate>): Verdict {
    const { symbol, sequence, epoch } = update.data;
    if (sequence === null || epoch === null) return NEXT;
    const last = this.positions.get(symbol);
    if (last === undefined) {
      this.positions.set(symbol, { sequence, epoch });
      this.epoch = epoch;
      return NEXT;
    }
    if (last.epoch === epoch && compareDecimal(sequence, last.sequence) <= 0) return 'duplicate';
    const gap = gapBetween(last, update, sequence, epoch);
    last.sequence = sequence;
    last.epoch = epoch;
    this.epoch = epoch;
    return gap === null ? NEXT : { gap };
  }

  /**
   * Return what to send to resume `symbols` (null: all).
   *
   * Null: nothing is known, or it is more than `limit` symbols; then each begins with a snapshot.
   */
  resume(
    symbols: readonly string[] | null,
    limit: number,
  ): { epoch: string; sequences: Record<string, string> } | null {
    const sequences: Record<string, string> = {};
    let count = 0;
    for (const symbol of symbols ?? this.positions.keys()) {
      const last = this.positions.get(symbol);
      // What was seen last in an earlier epoch has nothing to continue.
      if (last === undefined || last.epoch !== this.epoch) continue;
      count += 1;
      if (count > limit) return null;
      sequences[symbol] = last.sequence;
    }
    return count === 0 ? null : { epoch: this.epoch, sequences };
  }
}

function gapBetween(
  last: Position,
  update: Update<Aggregate>,
  sequence: string,
  epoch: string,
): Gap | null {
  const { symbol } = update.data;
  if (update.recovered === true) return null;
  if (update.recovered === false || last.epoch !== epoch) return { symbol, missed: null };
  // Both are strings of up to 20 digits.
  const missed = BigInt(sequence) - BigInt(last.sequence) - 1n - BigInt(update.conflated);
  return missed > 0n ? { symbol, missed } : null;
}
