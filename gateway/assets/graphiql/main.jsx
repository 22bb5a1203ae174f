// The page at /graphiql: GraphiQL on our /graphql, over HTTP and graphql-transport-ws.

// Monaco's workers, from our own server.
import 'graphiql/setup-workers/vite';
import 'graphiql/style.css';

import { createGraphiQLFetcher } from '@graphiql/toolkit';
import { GraphiQL } from 'graphiql';
import { createRoot } from 'react-dom/client';

const QUERY = `# The state of two symbols, and which symbols there are.
# Run it with Ctrl-Enter. Unknown symbols are null.
query MarketData {
  marketDataList(symbols: ["AAPL", "MSFT"]) {
    symbol
    open
    high
    low
    close
    volume
    timestamp
  }
  symbols(limit: 10) {
    symbols
    nextCursor
  }
}
`;

const SUBSCRIPTION = `# The present state of a symbol, then each change; the last one stays in sight.
# ["AAPL", "MSFT"] follows two, ["*"] all of them.
subscription Live {
  marketData(symbols: ["AAPL"]) {
    symbol
    close
    volume
    timestamp
    sequence
  }
}
`;

const url = new URL('graphql', location.href);
const subscriptionUrl = new URL(url);
subscriptionUrl.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';

createRoot(document.getElementById('graphiql')).render(
  <GraphiQL
    fetcher={createGraphiQLFetcher({ url: url.href, subscriptionUrl: subscriptionUrl.href })}
    defaultTabs={[{ query: QUERY }, { query: SUBSCRIPTION }]}
  />,
);
