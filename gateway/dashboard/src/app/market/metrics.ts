// How fast updates come, and how old they are on the screen. Pure: time is an argument.

// Each is 4.4 % wider than the one before: a quantile is right within that.
const PER_OCTAVE = 16;
const OCTAVES = 14;

/** Upper ends of the buckets in milliseconds. One more counts what is above, a first what is below 0. */
export const LATENCY_BOUNDS: readonly number[] = [
  0,
  ...Array.from({ length: OCTAVES * PER_OCTAVE + 1 }, (_, index) => 2 ** (index / PER_OCTAVE)),
];

/** A bar of the histogram: how many were up to `toMs`; 0: less than nothing, Infinity: all above. */
export interface LatencyBar {
  readonly toMs: number;
  readonly count: number;
}

/** Return the counts in bars of half an octave. */
export function barsOf(counts: readonly number[]): LatencyBar[] {
  const bars: LatencyBar[] = [];
  let sum = 0;
  for (const [index, count] of counts.entries()) {
    sum += count;
    const toMs = LATENCY_BOUNDS[index] ?? Infinity;
    if (index > 1 && toMs !== Infinity && (index - 1) % (PER_OCTAVE / 2) !== 0) continue;
    bars.push({ toMs, count: sum });
    sum = 0;
  }
  return bars;
}

const SLICE_MS = 1_000;

/** The latencies of the last `slices` seconds. */
export class LatencyWindow {
  private readonly slices: { at: number; counts: Uint32Array }[] = [];

  constructor(private readonly seconds = 10) {}

  /** Count a latency; less than 0 is one of a trade whose time has not come yet. */
  record(latencyMs: number, nowMs: number): void {
    const at = Math.floor(nowMs / SLICE_MS);
    let slice = this.slices[this.slices.length - 1];
    if (slice === undefined || slice.at !== at) {
      slice = { at, counts: new Uint32Array(LATENCY_BOUNDS.length + 1) };
      this.slices.push(slice);
      this.expire(at);
    }
    const bucket = bucketOf(latencyMs);
    slice.counts[bucket] = (slice.counts[bucket] ?? 0) + 1;
  }

  /** Return how many fell into each bucket. */
  counts(nowMs: number): number[] {
    this.expire(Math.floor(nowMs / SLICE_MS));
    const sums = new Array<number>(LATENCY_BOUNDS.length + 1).fill(0);
    for (const { counts } of this.slices) {
      counts.forEach((count, index) => (sums[index] = (sums[index] ?? 0) + count));
    }
    return sums;
  }

  private expire(at: number): void {
    while (this.slices[0] !== undefined && this.slices[0].at <= at - this.seconds) {
      this.slices.shift();
    }
  }
}

function bucketOf(latencyMs: number): number {
  if (latencyMs < 0) return 0;
  let low = 1;
  let high = LATENCY_BOUNDS.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((LATENCY_BOUNDS[middle] ?? Infinity) < latencyMs) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Return the latency under which a share `q` of `counts` lies, straight within a bucket.
 *
 * Null: there are none. Infinity: it is over the last bound. -Infinity: it is less than 0.
 */
export function quantile(counts: readonly number[], q: number): number | null {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return null;
  let left = q * total;
  for (const [index, count] of counts.entries()) {
    if (left <= count && count > 0) {
      if (index === 0) return -Infinity;
      const from = LATENCY_BOUNDS[index - 1] ?? 0;
      const to = LATENCY_BOUNDS[index];
      return to === undefined ? Infinity : from + ((to - from) * left) / count;
    }
    left -= count;
  }
  return Infinity;
}

/** How often something happens, over the last seconds. */
export class RateMeter {
  private readonly slices: { at: number; count: number }[] = [];
  private startedAt: number | null = null;

  constructor(private readonly seconds = 3) {}

  count(nowMs: number, by = 1): void {
    this.startedAt ??= nowMs;
    const at = Math.floor(nowMs / SLICE_MS);
    const last = this.slices[this.slices.length - 1];
    if (last?.at === at) last.count += by;
    else this.slices.push({ at, count: by });
    if (this.slices.length > this.seconds + 1) this.slices.shift();
  }

  /** Return the rate per second over the whole seconds that have passed. */
  perSecond(nowMs: number): number {
    const now = Math.floor(nowMs / SLICE_MS);
    let sum = 0;
    for (const { at, count } of this.slices) if (at < now && at >= now - this.seconds) sum += count;
    const first = Math.floor((this.startedAt ?? nowMs) / SLICE_MS);
    return sum / Math.max(1, Math.min(this.seconds, now - first));
  }
}
