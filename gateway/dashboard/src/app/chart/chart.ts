// Candles, volume and VWAP on the screen. Drawn once per frame, however many bars changed.

import {
  CandlestickSeries,
  ColorType,
  CrosshairMode,
  HistogramSeries,
  LineSeries,
  LineStyle,
  PriceScaleMode,
  createChart,
  createSeriesMarkers,
  type IChartApi,
  type ISeriesApi,
  type ISeriesMarkersPluginApi,
  type SeriesMarker,
  type Time,
  type UTCTimestamp,
} from 'lightweight-charts';

import { barKey, type Bar, type BarSeries } from '../../client';
import { decimalsOf } from '../market/format';
import { SessionBreaks } from './breaks';
import { candleOf, sessionBreaks, timeOf, volumeOf, vwapOf, type Palette } from './points';

export interface ChartEvents {
  /** The bar under the crosshair, or null: the last one. */
  onPoint(bar: Bar | null): void;
  /** The chart shows all there is; the newest bar is this. */
  onDrawn(last: Bar | null): void;
  /** The first bars are in sight. */
  onLeft(): void;
}

// Bars left of the edge at which older ones are asked for.
const NEAR_LEFT = 50;
const FIRST_VISIBLE = 120;

export class BarChart {
  private readonly chart: IChartApi;
  private readonly candles: ISeriesApi<'Candlestick'>;
  private readonly volume: ISeriesApi<'Histogram'>;
  private readonly vwap: ISeriesApi<'Line'>;
  private readonly markers: ISeriesMarkersPluginApi<Time>;
  private readonly breaks = new SessionBreaks();
  private palette: Palette;
  private breakColor = 'gray';
  private series: BarSeries | null = null;
  private byTime = new Map<number, Bar>();
  private pending = new Map<string, Bar>();
  private shown = 0;
  private wanted: 'nothing' | 'some' | 'all' = 'nothing';
  private frame = 0;
  private decimals = 2;
  private fitNext = false;

  constructor(
    private readonly root: HTMLElement,
    private readonly events: ChartEvents,
  ) {
    this.palette = readPalette(root);
    this.chart = createChart(root, {
      autoSize: true,
      // It brings styles of its own into the page; the footer names the makers.
      layout: { attributionLogo: false, fontFamily: getComputedStyle(root).fontFamily },
      crosshair: { mode: CrosshairMode.Normal },
      timeScale: { timeVisible: true, secondsVisible: true, rightOffset: 6 },
      localization: { locale: 'en-GB' },
    });
    this.candles = this.chart.addSeries(CandlestickSeries, { priceLineStyle: LineStyle.Dotted });
    this.volume = this.chart.addSeries(HistogramSeries, {
      priceScaleId: '',
      priceFormat: { type: 'volume' },
      lastValueVisible: false,
      priceLineVisible: false,
    });
    this.volume.priceScale().applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
    this.candles.priceScale().applyOptions({ scaleMargins: { top: 0.12, bottom: 0.22 } });
    this.vwap = this.chart.addSeries(LineSeries, {
      lineWidth: 1,
      lastValueVisible: false,
      priceLineVisible: false,
      crosshairMarkerVisible: false,
    });
    this.markers = createSeriesMarkers(this.candles, []);
    this.candles.attachPrimitive(this.breaks);
    this.chart.subscribeCrosshairMove(({ time }) => {
      events.onPoint(typeof time === 'number' ? (this.byTime.get(time) ?? null) : null);
    });
    this.chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      if (range !== null && range.from < NEAR_LEFT && this.shown > 0) this.events.onLeft();
    });
    this.setTheme();
  }

  /** Show other bars. */
  show(series: BarSeries): void {
    this.series = series;
    this.decimals = 2;
    this.fitNext = true;
    this.reset();
  }

  /** Take all bars of the series anew. */
  reset(): void {
    this.wanted = 'all';
    this.drawSoon();
  }

  /** Take a bar that is the last one, or was there before. */
  update(bar: Bar): void {
    this.pending.set(barKey(bar), bar);
    if (this.wanted === 'nothing') this.wanted = 'some';
    this.drawSoon();
  }

  setTheme(): void {
    const style = getComputedStyle(this.root);
    const read = (name: string) => style.getPropertyValue(name).trim();
    this.palette = readPalette(this.root);
    this.breakColor = read('--break');
    const line = read('--line');
    this.chart.applyOptions({
      layout: {
        background: { type: ColorType.Solid, color: read('--panel') },
        textColor: read('--dim'),
        panes: { separatorColor: line },
      },
      grid: { vertLines: { color: read('--grid') }, horzLines: { color: read('--grid') } },
      timeScale: { borderColor: line },
      rightPriceScale: { borderColor: line },
    });
    this.vwap.applyOptions({ color: read('--accent') });
    if (this.series !== null) this.reset();
  }

  setLog(on: boolean): void {
    const mode = on ? PriceScaleMode.Logarithmic : PriceScaleMode.Normal;
    this.chart.priceScale('right').applyOptions({ mode });
  }

  setVwap(visible: boolean): void {
    this.vwap.applyOptions({ visible });
  }

  screenshot(): HTMLCanvasElement {
    return this.chart.takeScreenshot();
  }

  /** Return what lies at a place of the plot; null: there is no bar. */
  locate(x: number, y: number): { time: number; price: number } | null {
    const time = this.chart.timeScale().coordinateToTime(x);
    const price = this.candles.coordinateToPrice(y);
    return typeof time === 'number' && price !== null ? { time, price } : null;
  }

  /** Return where it lies; null: there is no such bar. */
  place(time: number, price: number): { x: number; y: number } | null {
    const x = this.chart.timeScale().timeToCoordinate(time as UTCTimestamp);
    const y = this.candles.priceToCoordinate(price);
    return x !== null && y !== null ? { x, y } : null;
  }

  /** Call `listener` when places have moved. */
  onMove(listener: () => void): void {
    this.chart.timeScale().subscribeVisibleLogicalRangeChange(listener);
  }

  destroy(): void {
    cancelAnimationFrame(this.frame);
    this.chart.remove();
  }

  private drawSoon(): void {
    if (this.frame === 0) this.frame = requestAnimationFrame(() => this.draw());
  }

  private draw(): void {
    this.frame = 0;
    const { series, wanted, pending } = this;
    this.wanted = 'nothing';
    this.pending = new Map();
    if (series === null || wanted === 'nothing') return;
    // One by one, older ones cost more than all at once.
    if (wanted === 'all' || pending.size > 50) this.drawAll(series.all);
    else for (const bar of pending.values()) this.drawBar(bar, series);
    const last = series.last;
    this.root.dataset['bars'] = String(series.all.length);
    this.events.onDrawn(last ?? null);
  }

  private drawAll(bars: readonly Bar[]): void {
    const { palette } = this;
    for (const bar of bars) this.widen(bar);
    this.byTime = new Map(bars.map((bar) => [timeOf(bar), bar]));
    this.candles.setData(bars.map((bar) => candleOf(bar, palette)));
    this.volume.setData(bars.map((bar) => volumeOf(bar, palette)));
    this.vwap.setData(bars.map(vwapOf));
    this.shown = bars.length;
    this.mark(bars);
    if (this.fitNext && bars.length > 0) {
      this.fitNext = false;
      const to = bars.length + 5;
      this.chart.timeScale().setVisibleLogicalRange({ from: to - FIRST_VISIBLE, to });
    }
  }

  private drawBar(bar: Bar, series: BarSeries): void {
    const { palette } = this;
    const known = this.byTime.get(timeOf(bar));
    const newest = series.last !== undefined && timeOf(series.last) === timeOf(bar);
    if (known === undefined && !newest) {
      // There was none: the chart has no place for it yet.
      this.reset();
      return;
    }
    this.widen(bar);
    this.byTime.set(timeOf(bar), bar);
    const older = !newest;
    this.candles.update(candleOf(bar, palette), older);
    this.volume.update(volumeOf(bar, palette), older);
    this.vwap.update(vwapOf(bar), older);
    if (known === undefined) this.shown += 1;
    // Sessions and marks change only with a new bar, or a revised one.
    if (known === undefined || bar.revision !== known.revision) this.mark(series.all);
  }

  private mark(bars: readonly Bar[]): void {
    const markers: SeriesMarker<Time>[] = [];
    for (const bar of bars) {
      if (bar.revision === 0) continue;
      const text = bar.revision > 1 ? `R${bar.revision}` : 'R';
      const { doubtful } = this.palette;
      const time = timeOf(bar);
      markers.push({ time, position: 'aboveBar', shape: 'circle', color: doubtful, size: 0.6, text });
    }
    this.markers.setMarkers(markers);
    this.breaks.show(sessionBreaks(bars), this.breakColor);
  }

  // The axis has as many digits as the prices.
  private widen(bar: Bar): void {
    const decimals = bar.close === null ? 2 : decimalsOf(bar.close);
    if (decimals <= this.decimals && !this.fitNext) return;
    this.decimals = Math.max(decimals, this.decimals);
    const minMove = Number((10 ** -this.decimals).toFixed(this.decimals));
    const priceFormat = { type: 'price', precision: this.decimals, minMove } as const;
    this.candles.applyOptions({ priceFormat });
  }
}

function readPalette(element: HTMLElement): Palette {
  const style = getComputedStyle(element);
  const read = (name: string) => style.getPropertyValue(name).trim();
  return {
    up: read('--up'),
    down: read('--down'),
    upFaint: read('--up-faint'),
    downFaint: read('--down-faint'),
    doubtful: read('--doubtful'),
    upClear: read('--up-clear'),
    downClear: read('--down-clear'),
  };
}
