// Clients from npm that come back by themselves, each by its own rules, when their gateway restarts:
// `node restart_clients.mjs ADDRESS`. Each state of AAPL that one gets is a line of JSON, and so is
// each end of a connection.
import { createRequire } from 'node:module';

import { EventSource } from 'eventsource';
import { createClient } from 'graphql-ws';

import { makeSocket } from './stomp_socket.mjs';

const require = createRequire(import.meta.url);
const { Client } = require('@stomp/stompjs');
const { WebSocket } = require('ws');

const [address] = process.argv.slice(2);
const RETRY_MS = 300;
const say = (client, fields) => process.stdout.write(`${JSON.stringify({ client, ...fields })}\n`);

for (const transport of ['plain', 'websocket', 'xhr-streaming']) {
  const name = `stompjs ${transport}`;
  const client = new Client({
    webSocketFactory: () => makeSocket(address, transport, '1.2'),
    reconnectDelay: RETRY_MS,
    onStompError: (frame) => say(name, { told: Number(frame.headers['reconnect-after-ms']) }),
    onWebSocketClose: (event) => say(name, { code: event.code, reason: event.reason }),
    onConnect: () =>
      client.subscribe('/topic/market-data/AAPL', (message) =>
        say(name, { close: JSON.parse(message.body).close }),
      ),
  });
  client.activate();
}

const graphql = createClient({
  url: `ws://${address}/graphql`,
  webSocketImpl: WebSocket,
  retryAttempts: 1000,
  // By default it gives up when nobody listens for a moment.
  shouldRetry: () => true,
  retryWait: () => new Promise((resolve) => setTimeout(resolve, RETRY_MS)),
  on: { closed: ({ code, reason }) => say('graphql-ws', { code, reason }) },
});
graphql.subscribe(
  { query: 'subscription { marketData(symbols: ["AAPL"]) { close } }' },
  {
    next: ({ data }) => say('graphql-ws', { close: data.marketData?.close ?? null }),
    error: (error) => say('graphql-ws', { failed: String(error) }),
    complete: () => say('graphql-ws', { failed: 'complete' }),
  },
);

const events = new EventSource(`http://${address}/api/v1/stream?symbols=AAPL`);
events.addEventListener('update', (event) =>
  say('eventsource', { close: JSON.parse(event.data).data.close }),
);
events.addEventListener('status', (event) => {
  const { status, reconnectAfterMs } = JSON.parse(event.data);
  if (status === 'server-shutdown') say('eventsource', { told: reconnectAfterMs });
});
