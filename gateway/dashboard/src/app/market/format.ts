// Numbers and times as people read them: with all their digits, or marked as shortened. Marks are
// `≈`, and the unit of a count (`12.3k`), of an age, or of a price in millions and more. Pure.

import { groupDigits } from '../../client';

export const NOTHING = '–';
/** Says that digits are missing. */
export const SHORTENED = '≈';
// An exponent of which digits are missing would be another number.
const NO_PLACE = '…';

/** Says whether there is place for a text. */
export type Fits = (text: string) => boolean;

/** Place for so many characters. */
export function characters(count: number): Fits {
  return (text) => text.length <= count;
}

// No double needs more, with an exponent.
const ANY = characters(24);
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

/** Return `value` with an exponent, and with all its digits or so many. */
export function scientific(value: number, digits?: number): string {
  const text = value.toExponential(digits === undefined ? undefined : digits - 1);
  return text.replace(/\.?0*e\+?/, 'e');
}

const UNITS = ['', 'k', 'M', 'B', 'T', 'Qa', 'Qi'];

// Such as 11.56B, of millions to trillions; with so many digits, or all.
function withUnit(value: number, digits?: number): string | null {
  const [, sign, first, fraction = '', exponent] =
    /^(-?)(\d)(?:\.(\d+))?e(\d+)$/.exec(scientific(value, digits)) ?? [];
  const unit = Math.floor(Number(exponent) / 3);
  if (first === undefined || !(unit >= 2 && unit <= 4)) return null;
  const shift = Number(exponent) - 3 * unit;
  const all = first + fraction.padEnd(shift, '0');
  const rest = all.slice(1 + shift);
  return `${sign}${all.slice(0, 1 + shift)}${rest && `.${rest}`}${UNITS[unit]}`;
}

/**
 * Return `value` so that it fits, if it does with `decimals` digits after the point.
 *
 * It reads as the same number, perhaps with a unit or an exponent, or begins with ≈.
 */
export function formatPrice(
  value: number | null | undefined,
  decimals: number,
  fits = ANY,
): string {
  if (value == null) return NOTHING;
  return fit(plain(value), decimals, fits);
}

// The same of decimal text, which may have more digits than a number has.
function fit(text: string, decimals: number, fits: Fits): string {
  const value = Number(text);
  const exact = [pad(text, decimals), pad(text, Math.min(2, decimals)), text];
  // What is not a number's shortest text has digits that its other forms would lose.
  if (plain(value) === text) exact.push(withUnit(value) ?? '', scientific(value));
  const fitting = exact.find((each) => each !== '' && fits(each));
  if (fitting !== undefined) return fitting;
  for (let digits = 16; digits > 1; digits--) {
    const rounded = Number(value.toPrecision(digits));
    const shorter = [
      Number.isFinite(rounded) ? plain(rounded) : null,
      withUnit(value, digits),
      scientific(value, digits),
    ].find((each) => each !== null && fits(SHORTENED + each));
    if (shorter != null) return SHORTENED + shorter;
  }
  const first = SHORTENED + scientific(value, 1);
  return fits(first) ? first : NO_PLACE;
}

/** Return `value` with at most `decimals` digits after the point; ≈ says that it has more. */
export function formatRounded(value: number | null, decimals: number): string {
  if (value === null) return NOTHING;
  const text = plain(value);
  if (fractionOf(text) <= decimals) return fit(text, decimals, ANY);
  const rounded = plain(Number(value.toFixed(decimals)));
  // Of a number so small nothing would be left.
  if (Number(rounded) === 0) return fit(text, decimals, characters(10));
  return SHORTENED + fit(rounded, decimals, ANY);
}

/** Return `to - from`, exact and with its sign. */
export function formatChange(
  from: number | null | undefined,
  to: number | null | undefined,
  decimals: number,
  fits = ANY,
): string {
  if (from == null || to == null) return NOTHING;
  const change = subtract(plain(to), plain(from));
  // From one end of all doubles to the other.
  if (!Number.isFinite(Number(change))) return NOTHING;
  return signed(change, decimals, fits);
}

/** Return a share in percent, rounded to two digits after the point; `≈+0.001` is less than that. */
export function formatPercent(percent: number | null, fits = ANY): string {
  if (percent === null || !Number.isFinite(percent)) return NOTHING;
  const rounded = Number(percent.toFixed(2));
  if (rounded !== 0 || percent === 0) {
    return signed(plain(rounded), 2, fits);
  }
  const first = plain(Number(percent.toPrecision(1)));
  const text = SHORTENED + signed(first, 2, ANY);
  return fits(text) ? text : NO_PLACE;
}

function signed(text: string, decimals: number, fits: Fits): string {
  const negative = text.startsWith('-');
  // Not the hyphen: it is narrower than a plus.
  const sign = negative ? MINUS : Number(text) === 0 ? '' : '+';
  const withSign = (shown: string) => {
    if (shown === NO_PLACE) return shown;
    return shown.startsWith(SHORTENED) ? SHORTENED + sign + shown.slice(1) : sign + shown;
  };
  return withSign(fit(negative ? text.slice(1) : text, decimals, (each) => fits(withSign(each))));
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
  const unit = Math.min(UNITS.length - 1, Math.floor((all.length - 1) / 3));
  const whole = all.slice(0, all.length - 3 * unit);
  const fraction = all.slice(whole.length, whole.length + Math.max(0, 3 - whole.length));
  return `${sign}${groupDigits(whole)}${fraction ? `.${fraction}` : ''}${UNITS[unit]}`;
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

/** How far one clock is from another: `+12 ms`, `−300.0 s`; `< 3 ms`: no further than can be known. */
export function formatOffset({ ms, errorMs }: Measured): string {
  const size = Math.abs(ms);
  if (size <= errorMs) return `< ${Math.ceil(size + errorMs)} ms`;
  const text = size < 999.5 ? `${size.toFixed(0)} ms` : `${groupDigits((size / 1000).toFixed(1))} s`;
  return (ms < 0 ? MINUS : '+') + text;
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
