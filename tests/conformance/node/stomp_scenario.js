// One session of @stomp/stompjs, the same in Node and in a browser: the present state, a signal, a
// change that comes from outside after "subscribed" was said, and an orderly end.
//
// Resolves with what the client saw. `makeSocket` opens the WebSocket or SockJS connection.
globalThis.stompScenario = function stompScenario({ Client, Versions }, makeSocket, version, say) {
  return new Promise((resolve) => {
    let socket = null;
    const seen = { states: [], signals: [], statuses: [], errors: [] };
    const client = new Client({
      webSocketFactory: () => (socket = makeSocket()),
      stompVersions: new Versions([version]),
      reconnectDelay: 0,
    });
    let waiting = 3;
    const arrived = () => {
      waiting -= 1;
      if (!waiting) say('subscribed');
    };
    client.onConnect = () => {
      seen.version = client.connectedVersion;
      seen.used = socket.transport ?? null;
      seen.protocol = socket.protocol || null;
      client.watchForReceipt('r-1', arrived);
      client.subscribe(
        '/topic/market-data/AAPL',
        (message) => {
          const { close, volume, timestamp } = JSON.parse(message.body);
          seen.states.push({ close, types: [typeof volume, typeof timestamp] });
          if (seen.states.length === 1) arrived();
          if (close === 163.25) client.deactivate();
        },
        { receipt: 'r-1' },
      );
      client.subscribe('/topic/signaling', (message) => {
        seen.signals.push(JSON.parse(message.body));
        arrived();
      });
      client.subscribe('/topic/status', (message) => seen.statuses.push(JSON.parse(message.body)));
      const signal = { type: 'OFFER', senderId: 'ann', targetId: 'bob', sdp: 'v=0\r\no=📈 \u2028\0' };
      client.publish({ destination: '/app/signal', body: JSON.stringify(signal) });
    };
    client.onStompError = (frame) => seen.errors.push(frame.headers.message);
    client.onWebSocketClose = (event) => {
      seen.close = event.code;
      resolve(seen);
    };
    client.activate();
  });
};
