// Numbers and times as people read them.

import { groupDigits } from '../../client';

const MAX_DECIMALS = 8;
export const NOTHING = '–';

/** Digits after the point that show `value` exactly, at least two. */
export function decimalsOf(value: number): number {
  const text = String(value);
  const exponent = text.indexOf('e-');
  if (exponent >= 0) return MAX_DECIMALS;
  const point = text.indexOf('.');
  return point < 0 ? 2 : Math.min(MAX_DECIMALS, Math.max(2, text.length - point - 1));
}

export function formatPrice(value: number | null | undefined, decimals: number): string {
  if (value == null) return NOTHING;
  return value.toFixed(decimals);
}

export function formatSigned(value: number | null, decimals: number): string {
  if (value === null) return NOTHING;
  // Not the hyphen: it is narrower than a plus.
  const sign = value > 0 ? '+' : value < 0 ? '−' : '';
  return sign + Math.abs(value).toFixed(decimals);
}

export function formatCount(digits: string | null | undefined): string {
  return digits == null ? NOTHING : groupDigits(digits);
}

/** `1,234`, `12.3k`, `4.5M`; of decimal digits of any length, cut, never rounded up. */
export function formatShort(digits: string | null | undefined): string {
  if (digits == null) return NOTHING;
  if (digits.length <= 4) return groupDigits(digits);
  const units = ['', 'k', 'M', 'B', 'T', 'Qa', 'Qi'];
  const unit = Math.min(units.length - 1, Math.floor((digits.length - 1) / 3));
  const whole = digits.slice(0, digits.length - 3 * unit);
  const fraction = digits.slice(whole.length, whole.length + Math.max(0, 3 - whole.length));
  return `${whole}${fraction ? `.${fraction}` : ''}${units[unit] ?? ''}`;
}

export function formatAge(ms: number | null): string {
  if (ms === null) return NOTHING;
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)}s`;
  if (seconds < 60) return `${Math.floor(seconds)}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86400)}d`;
}

export function formatLatency(ms: number | null): string {
  if (ms === null) return NOTHING;
  if (ms === Infinity) return '> 16 s';
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return `${(ms / 1000).toFixed(1)} s`;
}

export function formatRate(perSecond: number): string {
  return perSecond < 10 ? perSecond.toFixed(1) : groupDigits(String(Math.round(perSecond)));
}
