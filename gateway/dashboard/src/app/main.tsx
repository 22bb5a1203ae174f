import './styles.css';

import { createRoot } from 'react-dom/client';

import { App } from './App';
import { MarketContext, StatusContext } from './hooks';
import { Market } from './market/market';
import { onWire, wireTransport } from './market/wire';
import { StatusPoll } from './status/poll';
import { apply } from './theme';

apply();
const market = new Market({ transport: wireTransport });
onWire(() => market.reconnect());
const root = document.getElementById('root');
if (root === null) throw new Error('the page has no #root');
createRoot(root).render(
  <MarketContext value={market}>
    <StatusContext value={new StatusPoll(market.rest)}>
      <App />
    </StatusContext>
  </MarketContext>,
);
