// What can be done with exact decimals, 64-bit integers among them, that stay strings of digits.

/** Order non-negative decimal numbers without leading zeros, and without zeros at their end. */
export function compareDecimal(a: string, b: string): number {
  const [wholeA = '', fractionA = ''] = a.split('.');
  const [wholeB = '', fractionB = ''] = b.split('.');
  if (wholeA.length !== wholeB.length) return wholeA.length - wholeB.length;
  if (wholeA !== wholeB) return wholeA < wholeB ? -1 : 1;
  return fractionA < fractionB ? -1 : fractionA > fractionB ? 1 : 0;
}

/** Return decimal digits in groups of three, such as `-1,234.5678`; other text as it is. */
export function groupDigits(digits: string): string {
  const [, sign, whole, rest] = /^(-?)(\d+)(\.\d+)?$/.exec(digits) ?? [];
  if (whole === undefined) return digits;
  return `${sign ?? ''}${whole.replace(/\B(?=(\d{3})+$)/g, ',')}${rest ?? ''}`;
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

/** Return nanoseconds since 1970 as milliseconds, to a microsecond. */
export function nsToMs(ns: string): number {
  return Number(BigInt(ns) / 1000n) / 1000;
}
