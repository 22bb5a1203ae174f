import { useEffect, useRef, useState, type FormEvent } from 'react';

import type { Bar } from '../../client';
import { useMarket, useStatus, useTheme, useTicks } from '../hooks';
import {
  decimalsOf,
  formatChange,
  formatCount,
  formatPercent,
  formatPrice,
  formatRounded,
  formatTime,
} from '../market/format';
import { changeOf, changePercentOf } from '../market/quotes';
import { isInterval } from '../route';
import { BarChart } from './chart';
import { BarFeed, type BarFeedStatus } from './feed';
import { remarksOf } from './points';
import { ageOf, intervalsOf, usualInterval, type Age } from './usual';

const USUAL_INTERVALS = ['1s', '1m', '5m', '15m', '1h', '1d'];

interface Props {
  readonly symbol: string;
  /** null: as much history as there is decides. */
  readonly interval: string | null;
  readonly log: boolean;
  readonly vwap: boolean;
  readonly onInterval: (interval: string) => void;
  readonly onLog: (on: boolean) => void;
  readonly onVwap: (on: boolean) => void;
}

const LOADING: BarFeedStatus = { phase: 'loading', problem: '', complete: false };

export function ChartPanel(props: Props) {
  const { symbol, log, vwap } = props;
  const [known, setKnown] = useState<{ symbol: string; age: Age }>({ symbol, age: 'unknown' });
  const age = known.symbol === symbol ? known.age : 'unknown';
  const interval = props.interval ?? usualInterval(age);
  // Read by the feed of the moment; a change of these alone needs no other feed.
  const choice = useRef({ age, chosen: true });
  choice.current = { age, chosen: props.interval !== null };
  const market = useMarket();
  const theme = useTheme();
  const { status } = useStatus();
  const root = useRef<HTMLDivElement>(null);
  const chart = useRef<BarChart | null>(null);
  const feed = useRef<BarFeed | null>(null);
  const [point, setPoint] = useState<Bar | null>(null);
  const [last, setLast] = useState<Bar | null>(null);
  const [feedStatus, setFeedStatus] = useState(LOADING);

  useEffect(() => {
    if (root.current === null) return;
    const made = new BarChart(root.current, {
      onPoint: setPoint,
      onDrawn: setLast,
      onLeft: () => void feed.current?.older(),
    });
    chart.current = made;
    return () => made.destroy();
  }, []);
  useEffect(() => {
    setPoint(null);
    setLast(null);
    setFeedStatus(LOADING);
    const made = new BarFeed(market.client, market.rest, symbol, interval, {
      onReset: () => chart.current?.reset(),
      onBar: (bar, change) => {
        if (change === 'inserted') chart.current?.reset();
        else chart.current?.update(bar);
        grow();
      },
      onStatus: (status) => {
        setFeedStatus(status);
        if (status.phase === 'live') grow();
        // Without bars of a second, minutes have to do.
        else if (status.phase === 'failed' && choice.current.age === 'young') {
          setKnown({ symbol, age: 'grown' });
        }
      },
    });
    const grow = () => {
      const { age, chosen } = choice.current;
      const next = ageOf(age, made.series);
      if (!chosen && next !== age) setKnown({ symbol, age: next });
    };
    feed.current = made;
    chart.current?.show(made.series);
    void made.start();
    return () => made.stop();
  }, [market, symbol, interval]);
  useEffect(() => chart.current?.setTheme(), [theme]);
  useEffect(() => chart.current?.setLog(log), [log]);
  useEffect(() => chart.current?.setVwap(vwap), [vwap]);

  const configured = intervalsOf(status?.intervals.length ? status.intervals : USUAL_INTERVALS);
  const intervals = configured.includes(interval) ? configured : [...configured, interval];

  function saveScreenshot() {
    chart.current?.screenshot().toBlob((blob) => {
      if (blob === null) return;
      const link = document.createElement('a');
      link.href = URL.createObjectURL(blob);
      link.download = `${symbol.replaceAll('/', '-')}-${interval}.png`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    });
  }

  return (
    <section className="panel chart" aria-label={`Chart of ${symbol}`}>
      <div className="bar">
        <Headline symbol={symbol} />
        <div className="segmented" role="group" aria-label="Interval">
          {intervals.map((each) => (
            <button
              key={each}
              type="button"
              aria-pressed={each === interval}
              onClick={() => props.onInterval(each)}
            >
              {each}
            </button>
          ))}
          <OtherInterval onInterval={props.onInterval} />
        </div>
        <div className="segmented" role="group" aria-label="Chart">
          <button type="button" aria-pressed={vwap} onClick={() => props.onVwap(!vwap)}>
            VWAP
          </button>
          <button type="button" aria-pressed={log} onClick={() => props.onLog(!log)}>
            Log
          </button>
          <button type="button" onClick={saveScreenshot} title="Save the chart as a picture">
            PNG
          </button>
        </div>
      </div>
      <div className="canvas">
        <div ref={root} className="plot" role="img" aria-label={`Bars of ${symbol}, ${interval}`} />
        <Legend bar={point ?? last} interval={interval} />
        {feedStatus.problem !== '' && <p className="notice">{feedStatus.problem}</p>}
        {feedStatus.phase === 'loading' && <p className="notice">Loading bars…</p>}
        {feedStatus.phase === 'live' && last === null && (
          <p className="notice">No bars of {symbol} yet.</p>
        )}
      </div>
    </section>
  );
}

function Headline({ symbol }: { readonly symbol: string }) {
  const market = useMarket();
  useTicks(250);
  const quote = market.quotes.get(symbol);
  const data = quote?.data ?? null;
  const decimals = quote?.decimals ?? 2;
  const change = changeOf(data);
  const trend = change === null || change === 0 ? 'flat' : change > 0 ? 'up' : 'down';
  return (
    <h1 className="headline">
      <span className="symbol">{symbol}</span>
      <span className="price">{formatPrice(data?.close, decimals)}</span>
      <span className={trend}>
        {formatChange(data?.open, data?.close, decimals)} ({formatPercent(changePercentOf(data))}%)
      </span>
    </h1>
  );
}

function OtherInterval({ onInterval }: { readonly onInterval: (interval: string) => void }) {
  const [text, setText] = useState('');
  function submit(event: FormEvent) {
    event.preventDefault();
    if (!isInterval(text)) return;
    onInterval(text);
    setText('');
  }
  return (
    <form onSubmit={submit}>
      <input
        className="interval"
        value={text}
        onChange={(event) => setText(event.target.value.trim())}
        placeholder="any"
        aria-label="Another interval, such as 30s, 2h, 3d, 100t or 10000v"
        title="30s, 2h, 3d, 2w, 6M, 100t (trades), 10000v (volume), 1000000n (notional)"
        size={5}
      />
    </form>
  );
}

function Legend({ bar, interval }: { readonly bar: Bar | null; readonly interval: string }) {
  if (bar === null) return null;
  const decimals = Math.max(...[bar.open, bar.high, bar.low, bar.close].map((each) => digits(each)));
  const trend = bar.close === null || bar.open === null || bar.close >= bar.open ? 'up' : 'down';
  const remarks = remarksOf(bar);
  return (
    <dl
      className={`legend ${trend}`}
      data-start={bar.start}
      data-start-ns={bar.startNs}
      data-number={bar.number}
      data-revision={bar.revision}
    >
      <Entry name={interval} value={formatTime(bar.startNs)} />
      <Entry name="O" value={formatPrice(bar.open, decimals)} />
      <Entry name="H" value={formatPrice(bar.high, decimals)} />
      <Entry name="L" value={formatPrice(bar.low, decimals)} />
      <Entry name="C" value={formatPrice(bar.close, decimals)} />
      <Entry name="V" value={formatCount(bar.volume)} />
      <Entry name="VWAP" value={formatRounded(bar.vwap, decimals + 2)} />
      {remarks.map((remark) => (
        <div key={remark} className="remark">
          <dt className="hidden">Remark</dt>
          <dd>{remark}</dd>
        </div>
      ))}
    </dl>
  );
}

function Entry({ name, value }: { readonly name: string; readonly value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

function digits(value: number | null): number {
  return value === null ? 2 : decimalsOf(value);
}
