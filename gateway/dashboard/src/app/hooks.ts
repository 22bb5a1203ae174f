import { createContext, useContext, useEffect, useState, useSyncExternalStore } from 'react';

import type { Market } from './market/market';
import { onWire, wire, type Wire } from './market/wire';
import type { Polled, StatusPoll } from './status/poll';
import { onTheme, theme, type Theme } from './theme';

export const MarketContext = createContext<Market | null>(null);
export const StatusContext = createContext<StatusPoll | null>(null);

export function useMarket(): Market {
  const market = useContext(MarketContext);
  if (market === null) throw new Error('there is no market around this component');
  return market;
}

export function useStatus(): Polled {
  const poll = useContext(StatusContext);
  if (poll === null) throw new Error('there is no status around this component');
  return useSyncExternalStore(poll.subscribe, poll.current);
}

export function useTheme(): Theme {
  return useSyncExternalStore(onTheme, theme);
}

/** Render again at each change of the connection, and every `ms` besides. */
export function useTicks(ms: number): void {
  const market = useMarket();
  const [, setTick] = useState(0);
  useEffect(() => {
    const tick = () => setTick((count) => count + 1);
    const timer = setInterval(tick, ms);
    const end = market.subscribe(tick);
    return () => {
      clearInterval(timer);
      end();
    };
  }, [market, ms]);
}

export function useWire(): Wire {
  return useSyncExternalStore(onWire, wire);
}
