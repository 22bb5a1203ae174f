// The JSON of the gateway, as docs/protocols/websocket.md and docs/rest.md describe it.
//
// 64-bit integers are strings of decimal digits and stay so: JavaScript's numbers end at 2^53.

import type { Aggregate, Bar, Int64 } from './fields';

export type { Aggregate, Bar, Int64 };

export type FeedStatus = 'live' | 'stale';
export type Policy = 'conflate' | 'buffer';

/** One state on its way to one subscription. */
export interface Update<T> {
  readonly data: T;
  /** States of this symbol or bar that were left out before this one. */
  readonly conflated: number;
  /** After a resume: true, nothing is missing; false, what was missed is not known. */
  readonly recovered: boolean | null;
}

export type ServerMessage =
  | { readonly type: 'status'; readonly status: FeedStatus }
  // The last message of a gateway that stops.
  | {
      readonly type: 'status';
      readonly status: 'server-shutdown';
      readonly reconnectAfterMs: number;
    }
  | { readonly type: 'subscribed' | 'unsubscribed'; readonly id: string }
  | { readonly type: 'pong'; readonly receivedNs?: Int64; readonly sentNs?: Int64 }
  | ({ readonly type: 'update' | 'bar'; readonly id: string } & Update<Aggregate | Bar>)
  | {
      readonly type: 'interval_complete';
      readonly id?: string;
      readonly interval: string;
      readonly end: Int64;
    }
  | {
      readonly type: 'error';
      readonly id: string | null;
      readonly code: string;
      readonly message: string;
    };

export function isBar(data: Aggregate | Bar): data is Bar {
  return 'interval' in data;
}

/** Return the message that `text` is; null if it is none that this version knows. */
export function parseMessage(text: string): ServerMessage | null {
  let message: unknown;
  try {
    message = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof message !== 'object' || message === null || !('type' in message)) return null;
  switch (message.type) {
    case 'status':
    case 'subscribed':
    case 'unsubscribed':
    case 'pong':
    case 'update':
    case 'bar':
    case 'interval_complete':
    case 'error':
      return message as ServerMessage;
    default:
      return null;
  }
}
