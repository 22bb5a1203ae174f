// Candles, volume and VWAP on the screen. Drawn once per frame, however many bars changed.

import {
  CandlestickSeries,
  ColorType,
  CrosshairMode,
  HistogramSeries,
  LineSeries,
  LineStyle,
  PriceScaleMode,
  TickMarkType,
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
import { decimalsOf, formatTime } from '../market/format';
import { axisFormat, secondText } from './axis';
import { SessionBreaks } from './breaks';
import {
  candleOf,
  place,
  placeAll,
  sessionBreaks,
  volumeOf,
  vwapOf,
  type Palette,
  type Placed,
} from './points';

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
  // As the chart has them, in order; where each is, by its key; and which is at a time.
  private shown: Placed[] = [];
  private byKey = new Map<string, number>();
  private byTime = new Map<number, Bar>();
  private pending = new Map<string, Bar>();
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
      timeScale: {
        timeVisible: true,
        secondsVisible: true,
        rightOffset: 6,
        tickMarkFormatter: (time: Time, type: TickMarkType) =>
          type === TickMarkType.TimeWithSeconds ? secondText(this.startOf(time)) : null,
      },
      localization: {
        locale: 'en-GB',
        timeFormatter: (time: Time) => formatTime(this.startOf(time)),
      },
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
      if (range !== null && range.from < NEAR_LEFT && this.shown.length > 0) this.events.onLeft();
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
    else this.drawSome(pending, series.all);
    const last = series.last;
    this.root.dataset['bars'] = String(series.all.length);
    this.events.onDrawn(last ?? null);
  }

  private drawAll(bars: readonly Bar[]): void {
    const { palette } = this;
    this.decimals = Math.max(2, ...bars.slice(-FIRST_VISIBLE).map(decimalsOfBar), this.decimals);
    const placed = placeAll(bars);
    this.shown = placed;
    this.byKey = new Map(placed.map(({ bar }, index) => [barKey(bar), index]));
    this.byTime = new Map(placed.map(({ bar, time }) => [time, bar]));
    this.applyFormat();
    this.candles.setData(placed.map((each) => candleOf(each, palette)));
    this.volume.setData(placed.map((each) => volumeOf(each, palette)));
    this.vwap.setData(placed.map(vwapOf));
    this.mark();
    if (this.fitNext && bars.length > 0) {
      this.fitNext = false;
      const to = bars.length + 5;
      this.chart.timeScale().setVisibleLogicalRange({ from: to - FIRST_VISIBLE, to });
    }
  }

  // What came between others was drawn with all: here are newer states of bars, then new ones.
  private drawSome(pending: ReadonlyMap<string, Bar>, bars: readonly Bar[]): void {
    let marked = this.shown.length < bars.length;
    for (const [key, bar] of pending) {
      const index = this.byKey.get(key);
      const known = index === undefined ? undefined : this.shown[index];
      if (index === undefined || known === undefined) continue;
      marked ||= bar.revision !== known.bar.revision;
      this.drawBar({ bar, time: known.time }, index);
    }
    for (let index = this.shown.length; index < bars.length; index++) {
      const bar = bars[index];
      if (bar !== undefined) this.drawBar(place(bar, this.shown[index - 1]), index);
    }
    // Sessions and marks change only with a new bar, or a revised one.
    if (marked) this.mark();
  }

  private drawBar(placed: Placed, index: number): void {
    const { palette } = this;
    const { bar, time } = placed;
    this.widen(bar);
    this.shown[index] = placed;
    this.byKey.set(barKey(bar), index);
    this.byTime.set(time, bar);
    const older = index < this.shown.length - 1;
    this.candles.update(candleOf(placed, palette), older);
    this.volume.update(volumeOf(placed, palette), older);
    this.vwap.update(vwapOf(placed), older);
  }

  private mark(): void {
    const markers: SeriesMarker<Time>[] = [];
    for (const { bar, time } of this.shown) {
      if (bar.revision === 0) continue;
      const text = bar.revision > 1 ? `R${bar.revision}` : 'R';
      const { doubtful } = this.palette;
      markers.push({ time, position: 'aboveBar', shape: 'circle', color: doubtful, size: 0.6, text });
    }
    this.markers.setMarkers(markers);
    this.breaks.show(sessionBreaks(this.shown), this.breakColor);
  }

  // The axis has as many digits as the newest prices.
  private widen(bar: Bar): void {
    const decimals = decimalsOfBar(bar);
    if (decimals <= this.decimals) return;
    this.decimals = decimals;
    this.applyFormat();
  }

  private applyFormat(): void {
    const last = this.shown[this.shown.length - 1]?.bar.close ?? null;
    this.candles.applyOptions({ priceFormat: axisFormat(last, this.decimals) });
  }

  // In nanoseconds; where there is no bar, as exact as the axis is.
  private startOf(time: Time): string {
    const seconds = Number(time);
    const bar = this.byTime.get(seconds);
    return bar?.startNs ?? `${Math.floor(seconds)}000000000`;
  }
}

function decimalsOfBar(bar: Bar): number {
  return bar.close === null ? 2 : decimalsOf(bar.close);
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
