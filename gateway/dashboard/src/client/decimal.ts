// What can be done with 64-bit integers that stay strings of digits.

/** Order non-negative decimal numbers without leading zeros. */
export function compareDecimal(a: string, b: string): number {
  if (a.length !== b.length) return a.length - b.length;
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Return `digits` in groups of three. */
export function groupDigits(digits: string): string {
  let grouped = digits;
  for (let at = digits.length - 3; at > 0 && digits[at - 1] !== '-'; at -= 3) {
    grouped = `${grouped.slice(0, at)},${grouped.slice(at)}`;
  }
  return grouped;
}

/** Return how many milliseconds lie between two times in nanoseconds, to the microsecond. */
export function msBetween(earlierNs: bigint, laterNs: bigint): number {
  // The difference is small enough for a number, the times are not.
  return Number((laterNs - earlierNs) / 1000n) / 1000;
}

const NS_PER_MS = 1_000_000n;

/** Return `ms` since 1970, a number with a fraction, in nanoseconds. */
export function msToNs(ms: number): bigint {
  const whole = Math.floor(ms);
  return BigInt(whole) * NS_PER_MS + BigInt(Math.round((ms - whole) * 1e6));
}
