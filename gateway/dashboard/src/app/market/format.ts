// Numbers and times as people read them: with all their digits, or marked as shortened. Marks are
// `≈`, and the unit of a count (`12.3k`) or of an age. Pure.

import { groupDigits } from '../../client';

export const NOTHING = '–';
/** Says that digits are missing. */
export const SHORTENED = '≈';
/** No double needs more characters, with an exponent. */
export const WIDEST = 24;
const MINUS = '−';
// What prices of a symbol are padded to, so that their points stand in a line. Beyond it each has
// the digits it needs.
const MAX_DECIMALS = 12;

/** Return all digits of `value`, without an exponent. */
export function plain(value: number): string {
  const text = String(value);
  const [, sign, whole, fraction, exponent] = /^(-?)(\d+)(?:\.(\d+))?e([+-]\d+)$/.exec(text) ?? [];
  if (whole === undefined) return text;
  const digits = whole + (fraction ?? '');
  const point = whole.length + Number(exponent);
  if (point <= 0) return `${sign}0.${'0'.repeat(-point)}${digits}`;
  if (point >= digits.length) return `${sign}${digits.padEnd(point, '0')}`;
  return `${sign}${digits.slice(0, point)}.${digits.slice(point)}`;
}

/** Digits after the point that show `value` exactly: at least two, and 12 at most. */
export function decimalsOf(value: number): number {
  return Math.min(MAX_DECIMALS, Math.max(2, fractionOf(plain(value))));
}

function fractionOf(text: string): number {
  const point = text.indexOf('.');
  return point < 0 ? 0 : text.length - point - 1;
}

function pad(text: string, decimals: number): string {
  const missing = decimals - fractionOf(text);
  if (missing <= 0) return text;
  return `${text}${text.includes('.') ? '' : '.'}${'0'.repeat(missing)}`;
}

// With so many digits, or all.
function scientific(value: number, digits?: number): string {
  const text = value.toExponential(digits === undefined ? undefined : digits - 1);
  return text.replace(/\.?0*e\+?/, 'e');
}

/**
 * Return `value` in at most `width` characters, with `decimals` digits after the point if they fit.
 *
 * It reads as the same number, or begins with ≈.
 */
export function formatPrice(
  value: number | null | undefined,
  decimals: number,
  width = WIDEST,
): string {
  if (value == null) return NOTHING;
  return fit(plain(value), decimals, width);
}

// The same of decimal text, which may have more digits than a number has.
function fit(text: string, decimals: number, width: number): string {
  const value = Number(text);
  const exact = [pad(text, decimals), text];
  // What is not a number's shortest text has digits that its exponent form would lose.
  if (plain(value) === text) exact.push(scientific(value));
  const fitting = exact.find((each) => each.length <= width);
  if (fitting !== undefined) return fitting;
  for (let digits = 16; ; digits--) {
    const rounded = [plain(Number(value.toPrecision(digits))), scientific(value, digits)];
    const shorter = rounded.find((each) => each.length < width && !each.endsWith('Infinity'));
    if (shorter !== undefined) return SHORTENED + shorter;
    if (digits === 1) return SHORTENED + scientific(value, 1);
  }
}

/** Return `value` with at most `decimals` digits after the point; ≈ says that it has more. */
export function formatRounded(value: number | null, decimals: number): string {
  if (value === null) return NOTHING;
  const text = plain(value);
  if (fractionOf(text) <= decimals) return fit(text, decimals, WIDEST);
  const rounded = plain(Number(value.toFixed(decimals)));
  // Of a number so small nothing would be left.
  if (Number(rounded) === 0) return fit(text, decimals, 10);
  return SHORTENED + fit(rounded, decimals, WIDEST);
}

/** Return `to - from`, exact and with its sign. */
export function formatChange(
  from: number | null | undefined,
  to: number | null | undefined,
  decimals: number,
  width = WIDEST,
): string {
  if (from == null || to == null) return NOTHING;
  const change = subtract(plain(to), plain(from));
  // From one end of all doubles to the other.
  if (!Number.isFinite(Number(change))) return NOTHING;
  return signed(change, (text) => fit(text, decimals, width - 1));
}

/** Return a share in percent, rounded to two digits after the point; `≈+0.001` is less than that. */
export function formatPercent(percent: number | null, width = WIDEST): string {
  if (percent === null || !Number.isFinite(percent)) return NOTHING;
  const rounded = Number(percent.toFixed(2));
  if (rounded !== 0 || percent === 0) {
    return signed(plain(rounded), (text) => fit(text, 2, width - 1));
  }
  const first = plain(Number(percent.toPrecision(1)));
  return SHORTENED + signed(first, (text) => fit(text, 2, width - 2));
}

// Not the hyphen: it is narrower than a plus.
function signed(text: string, format: (unsigned: string) => string): string {
  const negative = text.startsWith('-');
  const shown = format(negative ? text.slice(1) : text);
  if (Number(text) === 0) return shown;
  const sign = negative ? MINUS : '+';
  return shown.startsWith(SHORTENED) ? SHORTENED + sign + shown.slice(1) : sign + shown;
}

// Of decimal text without exponents: in doubles 0.3 - 0.1 is 0.19999999999999998.
function subtract(minuend: string, subtrahend: string): string {
  const decimals = Math.max(fractionOf(minuend), fractionOf(subtrahend));
  const scaled = (text: string) => BigInt(pad(text, decimals).replace('.', ''));
  const difference = scaled(minuend) - scaled(subtrahend);
  const digits = String(difference < 0n ? -difference : difference).padStart(decimals + 1, '0');
  const whole = digits.slice(0, digits.length - decimals);
  const fraction = digits.slice(digits.length - decimals).replace(/0+$/, '');
  return `${difference < 0n ? '-' : ''}${whole}${fraction === '' ? '' : `.${fraction}`}`;
}

export function formatCount(digits: string | null | undefined): string {
  return digits == null ? NOTHING : groupDigits(digits);
}

/** `1,234`, `12.3k`, `4.5M`; of decimal digits of any length. With a unit it is cut, not rounded. */
export function formatShort(digits: string | null | undefined): string {
  if (digits == null) return NOTHING;
  const [, sign, all] = /^(-?)(\d+)(?:\.\d+)?$/.exec(digits) ?? [];
  if (all === undefined || all.length <= 4) return groupDigits(digits);
  const units = ['', 'k', 'M', 'B', 'T', 'Qa', 'Qi'];
  const unit = Math.min(units.length - 1, Math.floor((all.length - 1) / 3));
  const whole = all.slice(0, all.length - 3 * unit);
  const fraction = all.slice(whole.length, whole.length + Math.max(0, 3 - whole.length));
  return `${sign}${groupDigits(whole)}${fraction ? `.${fraction}` : ''}${units[unit] ?? ''}`;
}

/** A time that was measured, and how much it may be off. */
export interface Measured {
  readonly ms: number;
  readonly errorMs: number;
}

// What an age is cut to, from which age on.
const AGE_UNITS: readonly (readonly [fromMs: number, unitMs: number, name: string])[] = [
  [86_400_000, 86_400_000, 'd'],
  [3_600_000, 3_600_000, 'h'],
  [60_000, 60_000, 'm'],
  [10_000, 1_000, 's'],
  [0, 100, 's'],
];

/** `9.9s`, `59s`, `5m`: cut, not rounded; `−3.0s`: it lies ahead. ≈: it may be another number. */
export function formatAge(age: Measured | null): string {
  if (age === null) return NOTHING;
  const ms = Math.abs(age.ms);
  const found = AGE_UNITS.find(([fromMs]) => ms >= fromMs);
  if (found === undefined) return NOTHING;
  const [, unitMs, name] = found;
  const count = Math.floor(ms / unitMs);
  const text = unitMs === 100 ? (count / 10).toFixed(1) : groupDigits(String(count));
  const sign = age.ms < 0 && count > 0 ? MINUS : '';
  return `${age.errorMs > unitMs / 2 ? SHORTENED : ''}${sign}${text}${name}`;
}

/** `12 ms`; `< 3 ms` where the clocks tell no more; `< 0 ms`: it came from the future. */
export function formatLatency(latency: Measured | null): string {
  if (latency === null) return NOTHING;
  const { ms, errorMs } = latency;
  if (ms === Infinity) return '> 16 s';
  if (ms === -Infinity) return '< 0 ms';
  if (ms <= errorMs) return `< ${Math.ceil(ms + errorMs)} ms`;
  const mark = errorMs > ms / 10 ? SHORTENED : '';
  if (ms < 9.95) return `${mark}${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${mark}${Math.round(ms)} ms`;
  return `${mark}${(ms / 1000).toFixed(1)} s`;
}

/** How far one clock is from another: `+12 ms`, `−300.0 s`. */
export function formatOffset(ms: number): string {
  const [text, unit] =
    Math.abs(ms) < 999.5
      ? [Math.abs(ms).toFixed(0), 'ms']
      : [groupDigits((Math.abs(ms) / 1000).toFixed(1)), 's'];
  return `${Number(text) === 0 ? '' : ms < 0 ? MINUS : '+'}${text} ${unit}`;
}

export function formatRate(perSecond: number): string {
  return perSecond < 9.95 ? perSecond.toFixed(1) : groupDigits(plain(Math.round(perSecond)));
}

/** `2024-12-26 08:20:34`, with as many digits of its second as it has. */
export function formatTime(ns: string): string {
  const seconds = BigInt(ns) / 1_000_000_000n;
  const [, fraction] = /^(\d*?)0*$/.exec(ns.slice(-9).padStart(9, '0')) ?? [];
  const text = new Date(Number(seconds) * 1000).toISOString().slice(0, 19).replace('T', ' ');
  return fraction ? `${text}.${fraction}` : text;
}
