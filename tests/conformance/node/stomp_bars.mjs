// stompjs follows bars: `node stomp_bars.mjs ADDRESS TRANSPORT DESTINATION SINCE`. Says null when it has
// subscribed and then every MESSAGE, until it is ended; an error ends it.
import { createRequire } from 'node:module';

import { makeSocket } from './stomp_socket.mjs';

const require = createRequire(import.meta.url);
const { Client, Versions } = require('@stomp/stompjs');

const [address, transport, destination, since] = process.argv.slice(2);
const VERSION = '1.2';
const say = (value) => console.log(JSON.stringify(value));

function fail(reason) {
  console.error(reason);
  process.exit(1);
}

const client = new Client({
  webSocketFactory: () => makeSocket(address, transport, VERSION),
  stompVersions: new Versions([VERSION]),
  reconnectDelay: 0,
});
client.onConnect = () => {
  client.watchForReceipt('r', () => say(null));
  const take = ({ headers, body }) => say({ headers, body: JSON.parse(body) });
  client.subscribe(destination, take, { receipt: 'r', since });
};
client.onStompError = ({ headers }) => fail(headers.message);
client.onWebSocketClose = ({ code, reason }) => fail(`closed with ${code} ${reason}`);
client.activate();
