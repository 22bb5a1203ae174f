// What a person is told of the connection. Pure.

import type { ConnectionState } from '../../client';

export interface ConnectionText {
  readonly tone: 'good' | 'warn' | 'bad';
  readonly title: string;
  /** A whole sentence for the banner; empty while all is well. */
  readonly sentence: string;
}

export function connectionText({ phase, feed }: ConnectionState): ConnectionText {
  switch (phase) {
    case 'open':
      return feed === 'stale'
        ? {
            tone: 'bad',
            title: 'Stale',
            sentence: 'The aggregator is away. What you see is the last known, not the present.',
          }
        : { tone: feed === 'live' ? 'good' : 'warn', title: feed === 'live' ? 'Live' : 'Connected', sentence: '' };
    case 'connecting':
      return { tone: 'warn', title: 'Connecting', sentence: 'Connecting to the gateway.' };
    case 'waiting':
      return {
        tone: 'bad',
        title: 'Disconnected',
        sentence: 'The gateway is not reached. What you see is the last known, not the present.',
      };
    case 'closed':
      return { tone: 'bad', title: 'Closed', sentence: 'The gateway refuses this page.' };
  }
}

/** Return when it connects again; empty if that is not what it waits for. */
export function countdown({ retryAt }: ConnectionState, nowMs: number): string {
  return retryAt === null ? '' : `, again in ${Math.max(0, (retryAt - nowMs) / 1000).toFixed(1)} s`;
}
