// stompjs in Node: `node stomp_client.mjs ADDRESS TRANSPORT VERSION`. The transport is "plain" or one
// of sockjs-client's.
import { createRequire } from 'node:module';

import { makeSocket } from './stomp_socket.mjs';

const require = createRequire(import.meta.url);
const StompJs = require('@stomp/stompjs');
require('./stomp_scenario.js');

const [address, transport, version] = process.argv.slice(2);
const say = (step, result = null) => console.log(JSON.stringify({ step, result }));
const open = () => makeSocket(address, transport, version);

say('done', await globalThis.stompScenario(StompJs, open, version, say));
process.exit(0);
