// How live data comes: over a WebSocket, unless a person chose WebRTC.

import { streamUrl, webRtcTransport, webSocketTransport, type Transport } from '../../client';

export type Wire = 'websocket' | 'webrtc';

const KEY = 'market-data.wire';
const listeners = new Set<() => void>();

export function wire(): Wire {
  return localStorage.getItem(KEY) === 'webrtc' ? 'webrtc' : 'websocket';
}

export function setWire(chosen: Wire): void {
  localStorage.setItem(KEY, chosen);
  listeners.forEach((listener) => listener());
}

export function onWire(listener: () => void): () => void {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

/** Return a connection of the kind that is chosen now. */
export function wireTransport(): Transport {
  return wire() === 'webrtc'
    ? webRtcTransport(location.href)
    : webSocketTransport(streamUrl(location.href));
}
