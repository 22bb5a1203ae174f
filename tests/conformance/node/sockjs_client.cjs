// Runs sockjs-client against an echo service over one transport and prints what happened as JSON.
// Usage: node sockjs_client.cjs URL TRANSPORT
'use strict';

const SockJS = require('sockjs-client');

const [url, transport] = process.argv.slice(2);

// Sends the messages at once; resolves with what came back until there is as much, or the close.
function exchange(messages, expected = messages.length) {
  return new Promise((resolve) => {
    const socket = new SockJS(url, null, { transports: [transport] });
    const received = [];
    let used = null;
    socket.onopen = () => {
      used = socket.transport;
      messages.forEach((message) => socket.send(message));
    };
    socket.onmessage = (event) => {
      received.push(event.data);
      if (received.length === expected) socket.close(3001, 'bye');
    };
    socket.onclose = (event) =>
      resolve({ received, used, code: event.code, reason: event.reason });
  });
}

async function main() {
  const characters = [];
  for (let code = 0; code < 0xd800; code += 7) characters.push(String.fromCharCode(code));
  for (let code = 0xe000; code <= 0xffff; code += 1) characters.push(String.fromCharCode(code));
  const unicode = [characters.join(''), 'grüß 📈 \u2028\u2029\u200d', '', '"\\/\b\f\n\r\t\0'];
  const large = ['x'.repeat(100000), 'ü'.repeat(30000)];
  const many = Array.from({ length: 1000 }, (_, index) => `message ${index}`);

  const same = (sent, { received }) => JSON.stringify(sent) === JSON.stringify(received);
  const echo = await exchange(['hello']);
  const closed = await exchange(['close 4321 farewell'], 2);
  console.log(
    JSON.stringify({
      used: echo.used,
      echo: echo.received,
      closedByUs: [echo.code, echo.reason],
      closedByServer: [closed.code, closed.reason],
      unicode: same(unicode, await exchange(unicode)),
      large: same(large, await exchange(large)),
      many: same(many, await exchange(many)),
    }),
  );
}

main().then(() => process.exit(0));
