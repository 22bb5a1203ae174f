// What to type to get the same data by each protocol. Pure.

export interface Place {
  /** Such as `localhost:8080`, or `example.com/market` under a path prefix. */
  readonly host: string;
  readonly secure: boolean;
  readonly symbol: string;
}

export type Runnable = 'rest' | 'sse' | 'websocket' | 'stomp' | 'graphql';

export interface Snippet {
  readonly id: string;
  readonly title: string;
  readonly about: string;
  readonly language: string;
  readonly code: string;
  /** What a browser can do here and now. */
  readonly run: Runnable | null;
}

export function stompFrames(host: string, symbol: string): readonly string[] {
  return [
    `CONNECT\naccept-version:1.2\nhost:${host}\n\n\0`,
    // STOMP 1.2, Value Encoding: of what a symbol may have, only the colon is written otherwise.
    `SUBSCRIBE\nid:0\ndestination:/topic/market-data/${symbol.replaceAll(':', '\\c')}\n\n\0`,
  ];
}

export function graphqlQuery(symbol: string): string {
  return `{ marketData(symbol: ${JSON.stringify(symbol)}) { symbol close volume vwap sequence } }`;
}

export function snippets({ host, secure, symbol }: Place): Snippet[] {
  const http = `${secure ? 'https' : 'http'}://${host}`;
  const ws = `${secure ? 'wss' : 'ws'}://${host}`;
  // In a shell the addresses stand between single quotes.
  const path = encodeURIComponent(symbol).replaceAll("'", '%27');
  const machine = host.replace(/\/.*$/, '').replace(/:\d+$/, '');
  return [
    {
      id: 'rest',
      title: 'REST',
      about: 'The present state, once.',
      language: 'shell',
      code: `curl '${http}/api/v1/marketdata/${path}'`,
      run: 'rest',
    },
    {
      id: 'bars',
      title: 'REST: bars',
      about: 'History as JSON; ask for text/csv or Arrow by the Accept header.',
      language: 'shell',
      code: `curl '${http}/api/v1/marketdata/${path}/bars?interval=1m&limit=100'`,
      run: null,
    },
    {
      id: 'sse',
      title: 'Server-sent events',
      about: 'Every change, over plain HTTP; resumes by itself.',
      language: 'shell',
      code: `curl -N '${http}/api/v1/stream?symbols=${path}'`,
      run: 'sse',
    },
    {
      id: 'websocket',
      title: 'WebSocket',
      about: 'Many symbols over one socket, with policies and resume.',
      language: 'shell',
      code: `wscat -c '${ws}/api/v1/stream?symbols=${path}'`,
      run: 'websocket',
    },
    {
      id: 'stomp',
      title: 'STOMP',
      about: 'With @stomp/stompjs; SockJS is at the same address.',
      language: 'javascript',
      code: `const client = new StompJs.Client({ brokerURL: '${ws}/ws' });
client.onConnect = () => {
  client.subscribe(${JSON.stringify(`/topic/market-data/${symbol}`)}, (message) => console.log(message.body));
};
client.activate();`,
      run: 'stomp',
    },
    {
      id: 'python',
      title: 'Python',
      about: 'pip install websockets',
      language: 'python',
      code: `import asyncio, json, websockets

async def main():
    async with websockets.connect("${ws}/api/v1/stream?symbols=${path}") as socket:
        async for text in socket:
            message = json.loads(text)
            if message["type"] == "update":
                print(message["data"]["close"], message["sequence"])

asyncio.run(main())`,
      run: null,
    },
    {
      id: 'graphql',
      title: 'GraphQL',
      about: 'Queries here, subscriptions in GraphiQL.',
      language: 'shell',
      code: `curl '${http}/graphql' --json ${quote(JSON.stringify({ query: graphqlQuery(symbol) }))}`,
      run: 'graphql',
    },
    {
      id: 'grpc',
      title: 'gRPC',
      about: 'From the aggregator itself, on its own port. Not from a browser.',
      language: 'shell',
      code: `grpcurl -plaintext -d ${quote(JSON.stringify({ symbol }))} ${machine}:50051 \\
  marketdata.MarketDataService/StreamAggregates`,
      run: null,
    },
    {
      id: 'sdk',
      title: 'This page’s own client',
      about: 'One ES module: reconnects, resumes, says what is stale.',
      language: 'javascript',
      code: `import { MarketDataClient } from '${http}/static/dashboard/marketdata-client.js';

const client = new MarketDataClient({ url: '${http}', onStale: (why) => console.warn('stale', why) });
client.subscribe({ symbols: [${JSON.stringify(symbol)}] }, {
  onUpdate: ({ data }) => console.log(data.symbol, data.close),
});
client.open();`,
      run: null,
    },
  ];
}

// For a POSIX shell.
function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
