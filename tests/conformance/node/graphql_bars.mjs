// The client of graphql-ws follows bars: `node graphql_bars.mjs URL QUERY VARIABLES`. Says null when it
// has subscribed and then every result, until it is ended; an error ends it.
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

const [url, query, variables] = process.argv.slice(2);
const say = (value) => console.log(JSON.stringify(value));

function fail(reason) {
  console.error(reason);
  process.exit(1);
}

const client = createClient({ url, webSocketImpl: WebSocket, retryAttempts: 0 });
client.on('connected', () => say(null));
client.subscribe(
  { query, variables: JSON.parse(variables) },
  {
    next: say,
    error: (error) => fail(error instanceof Error ? error : JSON.stringify(error)),
    complete: () => fail('the server completed it'),
  },
);
