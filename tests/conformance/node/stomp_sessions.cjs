// Many STOMP sessions over sockjs-client at once: `node stomp_sessions.cjs ADDRESS TRANSPORT SESSIONS
// SIGNALS`. When all have subscribed, each sends so many signaling messages. Prints, for each session,
// whether every message of everyone came once and in order, and how it ended.
'use strict';

const { Client, Versions } = require('@stomp/stompjs');
const SockJS = require('sockjs-client');

const [address, transport, ...counts] = process.argv.slice(2);
const [sessions, signals] = counts.map(Number);
const expected = sessions * signals;

function open(name) {
  const seen = {};
  let count = 0;
  let used = null;
  let socket;
  const client = new Client({
    webSocketFactory: () =>
      (socket = new SockJS(`http://${address}/ws`, null, { transports: [transport] })),
    stompVersions: new Versions(['1.2']),
    reconnectDelay: 0,
  });
  const subscribed = new Promise((resolve) => {
    client.onConnect = () => {
      used = socket.transport;
      client.watchForReceipt('r', resolve);
      const take = ({ body }) => {
        const { senderId, sdp } = JSON.parse(body);
        (seen[senderId] ??= []).push(Number(sdp));
        count += 1;
        if (count === expected) client.deactivate();
      };
      client.subscribe('/topic/signaling', take, { receipt: 'r' });
    };
  });
  const closed = new Promise((resolve) => {
    client.onStompError = (frame) => resolve({ error: frame.headers.message });
    client.onWebSocketClose = ({ code }) => {
      const inOrder = Object.values(seen).every(
        (numbers) => numbers.length === signals && numbers.every((number, at) => number === at + 1),
      );
      resolve({ used, code, count, senders: Object.keys(seen).length, inOrder });
    };
  });
  client.activate();
  const sendAll = () => {
    for (let number = 1; number <= signals; number += 1) {
      const signal = { type: 'OFFER', senderId: name, targetId: 'x', sdp: String(number) };
      client.publish({ destination: '/app/signal', body: JSON.stringify(signal) });
    }
  };
  return { subscribed, closed, sendAll };
}

async function main() {
  const all = Array.from({ length: sessions }, (_, index) => open(`peer ${index}`));
  await Promise.race([
    Promise.all(all.map(({ subscribed }) => subscribed)),
    Promise.race(all.map(({ closed }) => closed)),
  ]);
  all.forEach(({ sendAll }) => sendAll());
  console.log(JSON.stringify(await Promise.all(all.map(({ closed }) => closed))));
}

main().then(() => process.exit(0));
