// What a STOMP client in Node speaks over: "plain" is a WebSocket, all else a transport of
// sockjs-client.
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const SockJS = require('sockjs-client');
const { WebSocket } = require('ws');

export function makeSocket(address, transport, version) {
  return transport === 'plain'
    ? new WebSocket(`ws://${address}/ws`, [`v${version.replace('.', '')}.stomp`])
    : new SockJS(`http://${address}/ws`, null, { transports: [transport] });
}
