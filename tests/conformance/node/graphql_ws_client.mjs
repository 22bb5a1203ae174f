// The client of graphql-ws against the address of a GraphQL WebSocket. Each step says one line of
// JSON; after "ready" a trade has to come from outside.
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

const [url] = process.argv.slice(2);
const AAPL = 'subscription { marketData(symbols: ["AAPL"]) { symbol close } }';
const FAILING = ['{', '{ nope }', 'subscription { marketData(symbols: ["*A"]) { close } }'];

const say = (step, result) => console.log(JSON.stringify({ step, result }));

const sockets = [];
// Every operation has the same id, so each one re-uses that of the one before.
const client = createClient({
  url,
  webSocketImpl: WebSocket,
  generateID: () => 'the-id',
  retryWait: async () => {},
  // The socket stays when nothing runs on it, so that there is one for all that follows.
  lazy: false,
  on: { connected: (socket) => sockets.push(socket) },
});

function run(query) {
  return new Promise((resolve) => {
    const results = [];
    client.subscribe(
      { query },
      {
        next: (result) => results.push(result),
        error: (errors) => resolve({ results, codes: errors.map((e) => e.extensions.code) }),
        complete: () => resolve({ results, completed: true }),
      },
    );
  });
}

say('query', await run('{ marketData(symbol: "AAPL") { symbol close } }'));

const feed = client.iterate({ query: AAPL });
say('snapshot', (await feed.next()).value);
say('ready', null);
say('update', (await feed.next()).value);
// The client completes the operation, and the id is free.
await feed.return();
say('re-used id', await run('{ marketData(symbol: "MSFT") { close } }'));

const errors = [];
for (const query of FAILING) errors.push(await run(query));
say('errors', errors);
say('sockets', sockets.length);

// The connection is cut under the client, which connects anew and subscribes again.
const cut = client.iterate({ query: AAPL });
await cut.next();
sockets[0].terminate();
say('after the cut', (await cut.next()).value);
say('sockets', sockets.length);
await client.dispose();
