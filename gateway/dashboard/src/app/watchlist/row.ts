// One row of the watchlist: its elements are made once and then only told what changed.

import type { ServerTime } from '../../client';
import {
  NOTHING,
  formatAge,
  formatChange,
  formatCount,
  formatPercent,
  formatPrice,
  formatShort,
  formatTime,
  type Fits,
} from '../market/format';
import { ageOf, changeOf, changePercentOf, type Quote } from '../market/quotes';
import { COLUMNS, isPriceKey, type ColumnKey, type PriceKey } from './order';

// A row that flashes all the time says nothing, and costs a frame.
const FLASH_EVERY_MS = 300;
const SPARK_EVERY_MS = 500;
export const SPARK_WIDTH = 72;
export const SPARK_HEIGHT = 18;

export interface Paint {
  readonly up: string;
  readonly down: string;
  readonly flat: string;
  readonly flashUp: string;
  readonly flashDown: string;
  readonly calm: boolean;
  /** Whether a text has place in a cell of these columns. */
  readonly fits: Readonly<Record<PriceKey, Fits>>;
}

export class Row {
  readonly element = document.createElement('div');
  quote: Quote | null = null;
  private readonly texts = new Map<ColumnKey, Text>();
  private readonly cells = new Map<ColumnKey, HTMLElement>();
  private readonly canvas = document.createElement('canvas');
  private index = -1;
  private top = -1;
  private moves = 0;
  private trend = '';
  private flashedAt = 0;
  private sparkedAt = 0;

  constructor() {
    this.element.className = 'row';
    this.element.setAttribute('role', 'row');
    for (const { key } of COLUMNS) {
      const cell = document.createElement('div');
      cell.className = `cell ${key}`;
      cell.setAttribute('role', key === 'symbol' ? 'rowheader' : 'gridcell');
      if (key === 'trend') {
        const scale = Math.min(2, devicePixelRatio || 1);
        this.canvas.width = SPARK_WIDTH * scale;
        this.canvas.height = SPARK_HEIGHT * scale;
        this.canvas.setAttribute('aria-hidden', 'true');
        cell.append(this.canvas);
      } else {
        const text = document.createTextNode('');
        cell.append(text);
        this.texts.set(key, text);
      }
      this.cells.set(key, cell);
      this.element.append(cell);
    }
  }

  /** Stand for `quote`, at place `index`. */
  place(quote: Quote, index: number, height: number, selected: boolean, active: boolean): void {
    if (quote !== this.quote) {
      this.quote = quote;
      this.moves = quote.moves;
      this.trend = '';
      this.sparkedAt = 0;
      this.element.id = `row-${quote.symbol}`;
      this.element.dataset['symbol'] = quote.symbol;
    }
    if (index !== this.index) {
      this.index = index;
      // The first row of a grid is that of the heads.
      this.element.setAttribute('aria-rowindex', String(index + 2));
      this.element.classList.toggle('odd', index % 2 === 1);
    }
    const top = index * height;
    if (top !== this.top) {
      this.top = top;
      this.element.style.transform = `translateY(${top}px)`;
    }
    this.element.setAttribute('aria-selected', String(selected));
    this.element.classList.toggle('active', active);
  }

  /** Draw what is known at `nowMs` of this machine's stopwatch, and `time` of the gateway. */
  draw(nowMs: number, time: ServerTime | null, paint: Paint): void {
    const { quote } = this;
    if (quote === null) return;
    const { data } = quote;
    const change = changeOf(data);
    this.write('symbol', quote.symbol);
    for (const { key } of COLUMNS) {
      if (isPriceKey(key)) this.write(key, priceText(key, quote, paint.fits[key]));
    }
    this.write('volume', formatShort(data?.volume));
    this.write('age', formatAge(ageOf(data, time)));
    this.element.dataset['sequence'] = data?.sequence ?? '';
    const trend = change === null || change === 0 ? 'flat' : change > 0 ? 'up' : 'down';
    if (trend !== this.trend) {
      this.trend = trend;
      this.element.dataset['trend'] = trend;
      this.sparkedAt = 0;
    }
    if (quote.moves !== this.moves) {
      this.moves = quote.moves;
      this.flash(quote.direction, nowMs, paint);
    }
    if (nowMs - this.sparkedAt >= SPARK_EVERY_MS) {
      this.sparkedAt = nowMs;
      this.drawSpark(quote.spark.points, paint[trend]);
    }
  }

  /** Let a cell that somebody points at say all of what it shows. */
  explain(cell: Element): void {
    const { quote } = this;
    if (quote === null) return;
    for (const [key, each] of this.cells) if (each === cell) each.title = fullText(key, quote);
  }

  private write(key: ColumnKey, value: string): void {
    const text = this.texts.get(key);
    if (text !== undefined && text.data !== value) text.data = value;
  }

  private flash(direction: number, nowMs: number, paint: Paint): void {
    if (paint.calm || nowMs - this.flashedAt < FLASH_EVERY_MS) return;
    this.flashedAt = nowMs;
    const color = direction > 0 ? paint.flashUp : paint.flashDown;
    this.cells
      .get('last')
      ?.animate([{ backgroundColor: color }, { backgroundColor: 'transparent' }], 500);
  }

  private drawSpark(points: readonly number[], color: string): void {
    const context = this.canvas.getContext('2d');
    if (context === null) return;
    const { width, height } = this.canvas;
    context.clearRect(0, 0, width, height);
    if (points.length < 2) return;
    let low = Infinity;
    let high = -Infinity;
    for (const point of points) {
      low = Math.min(low, point);
      high = Math.max(high, point);
    }
    const span = high - low || 1;
    const step = (width - 4) / (points.length - 1);
    context.beginPath();
    for (const [index, point] of points.entries()) {
      const y = 3 + (height - 6) * (high === low ? 0.5 : 1 - (point - low) / span);
      if (index === 0) context.moveTo(2, y);
      else context.lineTo(2 + index * step, y);
    }
    context.strokeStyle = color;
    context.lineWidth = width > SPARK_WIDTH ? 2.4 : 1.2;
    context.lineJoin = 'round';
    context.stroke();
  }
}

function priceText(key: PriceKey, quote: Quote, fits?: Fits): string {
  const { data, decimals } = quote;
  switch (key) {
    case 'change':
      return formatChange(data?.open, data?.close, decimals, fits);
    case 'percent':
      return formatPercent(changePercentOf(data), fits);
    case 'last':
      return formatPrice(data?.close, decimals, fits);
    default:
      return formatPrice(data?.[key], decimals, fits);
  }
}

function fullText(key: ColumnKey, quote: Quote): string {
  const { data } = quote;
  if (isPriceKey(key)) return priceText(key, quote);
  if (key === 'symbol') return quote.symbol;
  if (key === 'volume') return formatCount(data?.volume);
  return data?.timestampNs == null ? NOTHING : `${formatTime(data.timestampNs)} UTC`;
}
