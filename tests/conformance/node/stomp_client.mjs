// stompjs in Node: `node stomp_client.mjs ADDRESS TRANSPORT VERSION`. The transport is "plain" or one
// of sockjs-client's.
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const StompJs = require('@stomp/stompjs');
const SockJS = require('sockjs-client');
const { WebSocket } = require('ws');
require('./stomp_scenario.js');

const [address, transport, version] = process.argv.slice(2);
const say = (step, result = null) => console.log(JSON.stringify({ step, result }));

const makeSocket = () =>
  transport === 'plain'
    ? new WebSocket(`ws://${address}/ws`, [`v${version.replace('.', '')}.stomp`])
    : new SockJS(`http://${address}/ws`, null, { transports: [transport] });

say('done', await globalThis.stompScenario(StompJs, makeSocket, version, say));
process.exit(0);
