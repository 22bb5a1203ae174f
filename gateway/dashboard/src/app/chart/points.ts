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

/** A bar, and where it is on the axis, in seconds. */
export interface Placed {
  readonly bar: Bar;
  readonly time: UTCTimestamp;
}

// Distinct in a double until the nanoseconds of 64 bits end, in 2262.
const STEP_S = 2 ** -19;

/**
 * Return where `bar` is on the axis; `before` is the one before it.
 *
 * The chart wants one number per bar, greater than the one before. Tick bars may begin in the same
 * nanosecond, and a number of seconds cannot tell 200 ns apart: such a bar is moved to the right.
 */
export function place(bar: Bar, before: Placed | undefined): Placed {
  const start = Number(bar.startNs) / 1e9;
  const time = before === undefined ? start : Math.max(start, before.time + STEP_S);
  return { bar, time: time as UTCTimestamp };
}

/** Place bars that are in order. */
export function placeAll(bars: readonly Bar[]): Placed[] {
  const placed: Placed[] = [];
  for (const bar of bars) placed.push(place(bar, placed[placed.length - 1]));
  return placed;
}

export type Point<T> = T | WhitespaceData<UTCTimestamp>;

export function candleOf({ bar, time }: Placed, palette: Palette): Point<CandlestickData<UTCTimestamp>> {
  const { open, high, low, close } = bar;
  if (open === null || high === null || low === null || close === null) return { time };
  const rises = close >= open;
  const edge =
    bar.coverage === 'full' || !isClosed(bar) ? (rises ? palette.up : palette.down) : palette.doubtful;
  // A bar that is not closed yet is hollow.
  const body = isClosed(bar) ? edge : rises ? palette.upClear : palette.downClear;
  return { time, open, high, low, close, color: body, borderColor: edge, wickColor: edge };
}

export function volumeOf({ bar, time }: Placed, palette: Palette): Point<HistogramData<UTCTimestamp>> {
  if (bar.open === null || bar.close === null) return { time };
  // A column some pixels high needs no 64 bits; the legend has the digits.
  const value = Number(bar.volume);
  return { time, value, color: bar.close >= bar.open ? palette.upFaint : palette.downFaint };
}

export function vwapOf({ bar, time }: Placed): Point<LineData<UTCTimestamp>> {
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
export function sessionBreaks(placed: readonly Placed[]): UTCTimestamp[] {
  const breaks: UTCTimestamp[] = [];
  for (let at = 1; at < placed.length; at++) {
    const [before, next] = [placed[at - 1], placed[at]];
    if (before && next && beginsSession(next.bar, before.bar)) breaks.push(next.time);
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
