import { useEffect, useRef, useState } from 'react';

import { ChartPanel } from './chart/ChartPanel';
import { ConnectPage } from './connect/ConnectPage';
import { useMarket, useStatus, useTheme, useTicks, useWire } from './hooks';
import { formatAge, formatLatency, formatRate } from './market/format';
import { setWire } from './market/wire';
import { formatRoute, parseRoute, type Route } from './route';
import { StatusPanel } from './status/StatusPanel';
import { connectionText, countdown } from './status/connection';
import { producersOf } from './status/model';
import { toggleTheme } from './theme';
import { Watchlist } from './watchlist/Watchlist';

export function App() {
  const market = useMarket();
  const [route, go] = useRoute();
  const [log, setLog] = useState(false);
  const [vwap, setVwap] = useState(true);
  const help = useRef<HTMLDialogElement>(null);
  const { symbol, interval } = route;

  useEffect(() => market.select(symbol), [market, symbol]);
  useKeys({
    '/': () => document.getElementById('filter')?.focus(),
    g: () => document.querySelector<HTMLElement>('.grid')?.focus(),
    l: () => setLog((on) => !on),
    v: () => setVwap((on) => !on),
    t: toggleTheme,
    c: () => go({ page: route.page === 'connect' ? 'market' : 'connect' }),
    '?': () => help.current?.showModal(),
  });

  return (
    <>
      <a className="skip" href="#main" onClick={focusMain}>
        Skip to content
      </a>
      <TopBar route={route} onHelp={() => help.current?.showModal()} />
      <Banner />
      <main id="main" tabIndex={-1} className={route.page}>
        {route.page === 'connect' ? (
          <ConnectPage symbol={symbol} />
        ) : (
          <>
            <Watchlist symbol={symbol} onSelect={(chosen) => go({ symbol: chosen })} />
            <ChartPanel
              symbol={symbol}
              interval={interval}
              log={log}
              vwap={vwap}
              onInterval={(chosen) => go({ interval: chosen })}
              onLog={setLog}
              onVwap={setVwap}
            />
            <StatusPanel />
          </>
        )}
      </main>
      <footer>
        Times are UTC. Charts by{' '}
        <a href="https://www.tradingview.com/" rel="noreferrer">
          TradingView
        </a>{' '}
        Lightweight Charts™, © TradingView, Inc.
      </footer>
      <Help dialog={help} />
    </>
  );
}

function TopBar({ route, onHelp }: { readonly route: Route; readonly onHelp: () => void }) {
  const market = useMarket();
  const theme = useTheme();
  const wire = useWire();
  useTicks(500);
  const now = Date.now();
  const { tone, title } = connectionText(market.connection);
  return (
    <header className="top">
      <a className="brand" href={formatRoute({ ...route, page: 'market' })}>
        Market data
      </a>
      <nav aria-label="Pages">
        <a
          href={formatRoute({ ...route, page: 'market' })}
          aria-current={route.page === 'market' ? 'page' : undefined}
        >
          Market
        </a>
        <a
          href={formatRoute({ ...route, page: 'connect' })}
          aria-current={route.page === 'connect' ? 'page' : undefined}
        >
          Connect
        </a>
        <a href="collab">Together</a>
        <a href="graphiql">GraphiQL</a>
        <a href="docs">API docs</a>
      </nav>
      <dl className="vitals">
        <div>
          <dt>Updates/s</dt>
          <dd>{formatRate(market.updates.perSecond(now))}</dd>
        </div>
        <div>
          <dt>p50</dt>
          <dd>{formatLatency(market.latencyAt(0.5))}</dd>
        </div>
        <div>
          <dt>p99</dt>
          <dd>{formatLatency(market.latencyAt(0.99))}</dd>
        </div>
      </dl>
      <button
        type="button"
        aria-pressed={wire === 'webrtc'}
        onClick={() => setWire(wire === 'webrtc' ? 'websocket' : 'webrtc')}
        title="Live over WebRTC instead of a WebSocket"
      >
        WebRTC
      </button>
      <span className={`pill ${tone}`} data-connection={title}>
        {title}
        {countdown(market.connection, now)}
      </span>
      <button
        type="button"
        onClick={toggleTheme}
        aria-label={theme === 'dark' ? 'Light theme' : 'Dark theme'}
        title="Light or dark (t)"
      >
        {theme === 'dark' ? '☀' : '☾'}
      </button>
      <button type="button" onClick={onHelp} aria-label="Keyboard shortcuts" title="Shortcuts (?)">
        ?
      </button>
    </header>
  );
}

// Says aloud what changed; the clock in it does not, or it would be read every second.
function Banner() {
  const market = useMarket();
  const { status } = useStatus();
  useTicks(1_000);
  const { connection } = market;
  const { sentence } = connectionText(connection);
  // The first moments, in which nothing is shown yet, are no alarm.
  const begun = market.received > 0 || connection.attempts > 0 || connection.feed === 'stale';
  const stale = market.staleSince !== null && begun;
  const orphaned = !stale && producersOf(status) === '0';
  const text = stale
    ? sentence
    : orphaned
      ? 'No producer is connected: nothing feeds the market, and prices stand still.'
      : '';
  useEffect(() => {
    document.documentElement.dataset['market'] = stale ? 'stale' : orphaned ? 'orphaned' : 'live';
    document.title = stale ? 'STALE · Market data' : 'Market data';
  }, [stale, orphaned]);
  return (
    <section aria-label="Notice" className={`banner${text === '' ? ' empty' : ''}`}>
      <strong role="status">{text}</strong>
      {stale && market.staleSince !== null && (
        <span>Since {formatAge({ ms: Date.now() - market.staleSince, errorMs: 0 })}.</span>
      )}
      {stale && connection.phase === 'waiting' && (
        <button type="button" onClick={() => market.client.retryNow()}>
          Connect now
        </button>
      )}
    </section>
  );
}

const KEYS: readonly (readonly [string, string])[] = [
  ['/', 'filter or add a symbol'],
  ['g', 'go to the prices; then arrows, Page Up and Down, Home, End, Enter, Delete'],
  ['l', 'logarithmic scale'],
  ['v', 'VWAP'],
  ['c', 'connect page and back'],
  ['t', 'light or dark'],
  ['?', 'this list'],
];

function Help({ dialog }: { readonly dialog: React.RefObject<HTMLDialogElement | null> }) {
  return (
    <dialog ref={dialog} aria-labelledby="help">
      <h2 id="help">Keyboard</h2>
      <dl>
        {KEYS.map(([key, what]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <form method="dialog">
        <button>Close</button>
      </form>
    </dialog>
  );
}

function useRoute(): [Route, (change: Partial<Route>) => void] {
  const [route, setRoute] = useState(() => parseRoute(location.hash));
  useEffect(() => {
    const read = () => setRoute((before) => parseRoute(location.hash, before));
    addEventListener('hashchange', read);
    return () => removeEventListener('hashchange', read);
  }, []);
  const go = (change: Partial<Route>) => {
    location.hash = formatRoute({ ...route, ...change });
  };
  return [route, go];
}

function useKeys(keys: Readonly<Record<string, () => void>>): void {
  const current = useRef(keys);
  current.current = keys;
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      if (target.closest('input, textarea, select, dialog') !== null) {
        if (event.key === 'Escape') target.blur();
        return;
      }
      const act = current.current[event.key];
      if (act === undefined) return;
      event.preventDefault();
      act();
    };
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, []);
}

// The address is the state of this page, so a link in it cannot be an anchor.
function focusMain(event: React.MouseEvent): void {
  event.preventDefault();
  document.getElementById('main')?.focus();
}
