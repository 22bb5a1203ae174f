// Bars as the chart wants them. Pure.

import type {
  CandlestickData,
  HistogramData,
  LineData,
  UTCTimestamp,
  WhitespaceData,
} from 'lightweight-charts';

import { isClosed, type Bar } from '../../client';

export interface Palette {
  readonly up: string;
  readonly down: string;
  readonly upFaint: string;
  readonly downFaint: string;
  /** Of bars for which the feed was not always there. */
  readonly doubtful: string;
  /** Of the bodies of open bars: all but clear, because the price's label takes its color from it. */
  readonly upClear: string;
  readonly downClear: string;
}

/**
 * Return where a bar is on the axis, in seconds.
 *
 * Tick bars may begin in one millisecond; their numbers keep them apart and in order.
 */
export function timeOf(bar: Bar): UTCTimestamp {
  // Milliseconds since 1970 are exact in a number; nanoseconds would not be.
  return (Number(bar.start) / 1000 + bar.number * 1e-6) as UTCTimestamp;
}

export type Point<T> = T | WhitespaceData<UTCTimestamp>;

export function candleOf(bar: Bar, palette: Palette): Point<CandlestickData<UTCTimestamp>> {
  const time = timeOf(bar);
  const { open, high, low, close } = bar;
  if (open === null || high === null || low === null || close === null) return { time };
  const rises = close >= open;
  const edge =
    bar.coverage === 'full' || !isClosed(bar) ? (rises ? palette.up : palette.down) : palette.doubtful;
  // A bar that is not closed yet is hollow.
  const body = isClosed(bar) ? edge : rises ? palette.upClear : palette.downClear;
  return { time, open, high, low, close, color: body, borderColor: edge, wickColor: edge };
}

export function volumeOf(bar: Bar, palette: Palette): Point<HistogramData<UTCTimestamp>> {
  const time = timeOf(bar);
  if (bar.open === null || bar.close === null) return { time };
  // A column some pixels high needs no 64 bits; the legend has the digits.
  const value = Number(bar.volume);
  return { time, value, color: bar.close >= bar.open ? palette.upFaint : palette.downFaint };
}

export function vwapOf(bar: Bar): Point<LineData<UTCTimestamp>> {
  const time = timeOf(bar);
  return bar.vwap === null || bar.filler !== null ? { time } : { time, value: bar.vwap };
}

const DAY_MS = 86_400_000;

/** Whether a new session begins with `bar`: another phase of the calendar, or another UTC day. */
export function beginsSession(bar: Bar, before: Bar): boolean {
  if (Number(bar.end) - Number(bar.start) >= DAY_MS) return false;
  if (bar.phase !== null && before.phase !== null && bar.phase !== before.phase) return true;
  if (bar.phase !== null) return Number(bar.start) - Number(before.start) >= DAY_MS / 2;
  return Math.floor(Number(bar.start) / DAY_MS) !== Math.floor(Number(before.start) / DAY_MS);
}

/** Return where sessions begin. */
export function sessionBreaks(bars: readonly Bar[]): UTCTimestamp[] {
  const breaks: UTCTimestamp[] = [];
  for (let at = 1; at < bars.length; at++) {
    const [before, bar] = [bars[at - 1], bars[at]];
    if (before && bar && beginsSession(bar, before)) breaks.push(timeOf(bar));
  }
  return breaks;
}

/** Say in words what is special about a bar; empty: nothing is. */
export function remarksOf(bar: Bar): string[] {
  const remarks: string[] = [];
  if (bar.state === 'partial') remarks.push('open');
  if (bar.state === 'early') remarks.push('closing');
  if (bar.revision > 0) remarks.push(`revised ×${bar.revision}`);
  if (bar.coverage === 'partial') remarks.push('feed incomplete');
  if (bar.coverage === 'no_feed') remarks.push('no feed');
  if (bar.phase !== null && bar.phase !== 'regular') remarks.push(bar.phase);
  return remarks;
}
