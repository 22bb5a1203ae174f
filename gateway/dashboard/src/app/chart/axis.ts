// What is written on the axes of the chart. Pure.

import type { PriceFormatCustom } from 'lightweight-charts';

import { characters, decimalsOf, formatPrice, formatTime, scientific } from '../market/format';

// So many digits a double has surely; below them the steps of an axis would be noise.
const DIGITS = 15;
const PLACE = characters(14);

/** Return a price on the axis, where `decimals` are enough for those that were traded. */
export function axisPrice(price: number, decimals: number): string {
  // A place between two prices of the market has digits that mean nothing.
  const between = decimalsOf(price) > decimals;
  return formatPrice(between ? Number(price.toFixed(decimals)) : price, decimals, PLACE);
}

/** Return the marks of an axis of prices, all in one form. */
export function axisMarks(prices: readonly number[], decimals: number): string[] {
  // They are round numbers, but for the last digits of a double.
  const round = prices.map((price) => Number(price.toPrecision(12)));
  const texts = round.map((price) => axisPrice(price, decimals));
  return texts.every((text) => /^-?[\d.]+$/.test(text)) ? texts : round.map((price) => scientific(price));
}

/** Return how the axis of prices steps, given a price on it. */
export function axisFormat(price: number | null, decimals: number): PriceFormatCustom {
  const magnitude = price === null || price === 0 ? 0 : Math.floor(Math.log10(Math.abs(price)));
  const exponent = Math.max(-decimals, magnitude + 1 - DIGITS);
  const minMove = Number(`1e${exponent}`);
  return {
    type: 'custom',
    minMove,
    base: Number(`1e${-exponent}`),
    formatter: (each: number) => axisPrice(each, decimals),
    tickmarksFormatter: (each: readonly number[]) => axisMarks(each, decimals),
  };
}

/** Return the time of day, with as many digits of its second as it has. */
export function secondText(ns: string): string {
  return formatTime(ns).slice('2024-12-26 '.length);
}
