// How fast updates come, and how old they are on the screen. Pure: time is an argument.

/** Upper ends of the buckets in milliseconds; the last has none. */
export const LATENCY_BOUNDS: readonly number[] = [
  1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256, 362, 512, 724, 1024, 2048, 4096, 8192,
  16384,
];

const SLICE_MS = 1_000;

/** The latencies of the last `slices` seconds. */
export class LatencyWindow {
  private readonly slices: { at: number; counts: Uint32Array }[] = [];

  constructor(private readonly seconds = 10) {}

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
  let low = 0;
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
 * Null: there are none. Infinity: it is over the last bound.
 */
export function quantile(counts: readonly number[], q: number): number | null {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return null;
  let left = q * total;
  for (const [index, count] of counts.entries()) {
    if (left <= count && count > 0) {
      const from = index === 0 ? 0 : (LATENCY_BOUNDS[index - 1] ?? 0);
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
