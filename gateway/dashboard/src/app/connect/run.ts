// "Run it here": what a snippet does, in this browser. Each returns what ends it.

import { listenToEvents, streamUrl } from '../../client';
import { graphqlQuery, stompFrames, type Runnable } from './snippets';

export type Say = (line: string) => void;

export function run(what: Runnable, symbol: string, say: Say): () => void {
  return RUNS[what](symbol, say);
}

const RUNS: Record<Runnable, (symbol: string, say: Say) => () => void> = {
  rest: (symbol, say) => fetching(`api/v1/marketdata/${encodeURIComponent(symbol)}`, {}, say),
  graphql: (symbol, say) => {
    const body = JSON.stringify({ query: graphqlQuery(symbol) });
    const headers = { 'Content-Type': 'application/json' };
    return fetching('graphql', { method: 'POST', headers, body }, say);
  },
  sse: (symbol, say) => {
    const url = new URL('api/v1/stream', location.href);
    url.searchParams.set('symbols', symbol);
    return listenToEvents(url, ({ type, data }) => say(`event: ${type}  ${data}`));
  },
  websocket: (symbol, say) => {
    const url = `${streamUrl(location.href)}?symbols=${encodeURIComponent(symbol)}`;
    return listening(new WebSocket(url), say);
  },
  stomp: (symbol, say) => {
    const url = new URL('ws', location.href);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    const socket = new WebSocket(url, ['v12.stomp']);
    socket.onopen = () => stompFrames(location.host, symbol).forEach((frame) => socket.send(frame));
    return listening(socket, say);
  },
};

function fetching(path: string, init: RequestInit, say: Say): () => void {
  const aborting = new AbortController();
  fetch(path, { ...init, signal: aborting.signal })
    .then(async (answer) => {
      say(`HTTP ${answer.status} ${answer.statusText}`);
      say(await answer.text());
    })
    .catch((error: unknown) => {
      if (!aborting.signal.aborted) say(String(error));
    });
  return () => aborting.abort();
}

function listening(socket: WebSocket, say: Say): () => void {
  socket.onmessage = (event: MessageEvent<unknown>) => say(String(event.data).replaceAll('\0', ''));
  socket.onclose = (event) => say(`closed: ${event.code} ${event.reason}`);
  return () => {
    socket.onmessage = socket.onclose = socket.onopen = null;
    socket.close();
  };
}
