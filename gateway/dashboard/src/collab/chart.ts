// The chart that all look at, and everybody's cursor on it.

import { BarChart } from '../app/chart/chart';
import { BarFeed } from '../app/chart/feed';
import type { MarketDataClient, RestClient } from '../client';
import type { Cursor } from './messages';

export interface SharedChartEvents {
  onCursor(cursor: Cursor | null): void;
  onNotice(text: string): void;
}

// Colours that are told apart on dark and on light.
const COLOURS = 6;

export class SharedChart {
  private readonly chart: BarChart;
  private feed: BarFeed | null = null;
  private readonly cursors = new Map<string, { element: HTMLElement; cursor: Cursor | null }>();
  private next: Cursor | null | undefined;
  private frame = 0;
  private colour = 0;

  constructor(
    private readonly plot: HTMLElement,
    private readonly layer: HTMLElement,
    private readonly client: MarketDataClient,
    private readonly rest: RestClient,
    private readonly events: SharedChartEvents,
  ) {
    this.chart = new BarChart(plot, {
      onPoint: () => undefined,
      onDrawn: () => this.placeSoon(),
      onLeft: () => void this.feed?.older(),
    });
    this.chart.onMove(() => this.placeSoon());
    // What lies over the chart, such as a notice, is no border for a cursor.
    const area = plot.parentElement ?? plot;
    area.addEventListener('pointermove', (event) => this.point(event));
    area.addEventListener('pointerleave', () => this.tell(null));
    new ResizeObserver(() => this.placeSoon()).observe(plot);
  }

  show(symbol: string, interval: string): void {
    this.feed?.stop();
    const feed = new BarFeed(this.client, this.rest, symbol, interval, {
      onReset: () => this.chart.reset(),
      onBar: (bar, change) => {
        if (change === 'inserted') this.chart.reset();
        else this.chart.update(bar);
      },
      onStatus: ({ phase, problem }) =>
        this.events.onNotice(phase === 'loading' ? 'Loading bars…' : problem),
    });
    this.feed = feed;
    this.plot.setAttribute('aria-label', `Bars of ${symbol}, ${interval}`);
    this.chart.show(feed.series);
    void feed.start();
    // What somebody points at was on the chart before.
    for (const shown of this.cursors.values()) shown.cursor = null;
    this.placeSoon();
  }

  setTheme(): void {
    this.chart.setTheme();
  }

  /** Show where somebody points; null: nowhere. */
  put(id: string, name: string, cursor: Cursor | null): void {
    let shown = this.cursors.get(id);
    if (shown === undefined) {
      const element = document.createElement('div');
      element.className = `cursor colour${this.colour++ % COLOURS}`;
      element.dataset['person'] = id;
      element.append(document.createElement('span'));
      this.layer.append(element);
      shown = { element, cursor };
      this.cursors.set(id, shown);
    }
    shown.cursor = cursor;
    const label = shown.element.firstElementChild;
    if (label !== null) label.textContent = name;
    this.placeSoon();
  }

  /** Forget somebody. */
  remove(id: string): void {
    this.cursors.get(id)?.element.remove();
    this.cursors.delete(id);
  }

  private point(event: PointerEvent): void {
    const box = this.plot.getBoundingClientRect();
    const [left, top] = [event.clientX - box.left, event.clientY - box.top];
    const part = (value: number, size: number) => Math.min(1, Math.max(0, value / size));
    const place = this.chart.locate(left, top);
    this.tell({
      time: place?.time ?? null,
      price: place?.price ?? null,
      x: part(left, box.width),
      y: part(top, box.height),
    });
  }

  // Once per frame, however fast the mouse is.
  private tell(cursor: Cursor | null): void {
    const due = this.next === undefined;
    this.next = cursor;
    if (!due) return;
    requestAnimationFrame(() => {
      const newest = this.next ?? null;
      this.next = undefined;
      this.events.onCursor(newest);
    });
  }

  private placeSoon(): void {
    if (this.frame === 0) this.frame = requestAnimationFrame(() => this.place());
  }

  private place(): void {
    this.frame = 0;
    const { clientWidth: width, clientHeight: height } = this.plot;
    for (const { element, cursor } of this.cursors.values()) {
      element.hidden = cursor === null;
      if (cursor === null) continue;
      const { time, price } = cursor;
      const at = time === null || price === null ? null : this.chart.place(time, price);
      const left = Math.min(width, Math.max(0, at?.x ?? cursor.x * width));
      const top = Math.min(height, Math.max(0, at?.y ?? cursor.y * height));
      element.style.transform = `translate(${left}px, ${top}px)`;
    }
  }
}
