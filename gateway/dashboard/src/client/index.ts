// marketdata-client: the gateway's data in a browser. Built as one ES module,
// /static/dashboard/marketdata-client.js; docs/sdk.md describes it.

export { MarketDataClient } from './client';
export type {
  ClientOptions,
  ConnectionState,
  StaleReason,
  Subscription,
  UpdateSubscription,
} from './client';
export { StreamError } from './subscription';
export type { BarHandlers, BarTopic, Topic, UpdateHandlers } from './subscription';
export type { ServerTime } from './clock';
export { BarSeries, barKey, compareBars, isClosed, isNewer } from './bars';
export type { Change } from './bars';
export type { Gap } from './sequences';
export type * from './messages';
export { RestClient, RestError } from './rest';
export type { BarsPage, BarsQuery, RestOptions, SymbolsPage } from './rest';
export { streamUrl, webSocketTransport } from './transport';
export { listenToEvents } from './events';
export type { StreamEvent } from './events';
export type { Transport, TransportEvents, TransportFactory } from './transport';
export { compareDecimal, groupDigits, msBetween, msToNs, nsToMs } from './decimal';
export { openSignaling, signalingUrl } from './signaling';
export type { Signal, Signaling, SignalingEvents, SignalingFactory } from './signaling';
export { fetchIceServers, webRtcTransport } from './webrtc';
export type { WebRtcOptions } from './webrtc';
