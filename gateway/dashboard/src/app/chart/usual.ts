// Which interval a chart shows while the person has not chosen one: short bars while a symbol is
// young, because two candles in an empty frame tell nothing, and minutes afterwards. Pure.

import type { BarSeries } from '../../client';

/** How much of the symbol there is: not known yet, too little for minutes, enough for minutes. */
export type Age = 'unknown' | 'young' | 'grown';

const ENOUGH_MINUTES = 15;
const ENOUGH_MS = ENOUGH_MINUTES * 60_000;

/** What the server makes of daily bars when somebody reads it; such bars are not live. */
export const LONG_INTERVALS = ['1w', '1M', '3M', '1y'];

const LONG = /^(?!1d$)[0-9]+[dwMy]$/;

export function isLong(interval: string): boolean {
  return LONG.test(interval);
}

/** Return the intervals to choose from, where the server has `live` ones. */
export function intervalsOf(live: readonly string[]): readonly string[] {
  return live.includes('1d') ? [...live, ...LONG_INTERVALS] : live;
}

export function usualInterval(age: Age): string {
  return age === 'young' ? '1s' : '1m';
}

/** Return the age that the bars of `usualInterval(age)` show. It only grows, so it settles. */
export function ageOf(age: Age, series: BarSeries): Age {
  const { first, last } = series;
  if (age === 'unknown') return series.all.length < ENOUGH_MINUTES ? 'young' : 'grown';
  if (age === 'young' && first !== undefined && last !== undefined) {
    return Number(last.start) - Number(first.start) < ENOUGH_MS ? 'young' : 'grown';
  }
  return age;
}
