// Ask for the status every two seconds, while somebody looks.

import type { RestClient } from '../../client';
import { rateBetween, readStatus, type SystemStatus } from './model';

export interface Polled {
  readonly status: SystemStatus | null;
  /** Ticks per second that the aggregator took since the last look. */
  readonly ingestRate: number | null;
  /** Why there is no status; empty: there is. */
  readonly problem: string;
}

const EVERY_MS = 2_000;
const NOTHING: Polled = { status: null, ingestRate: null, problem: 'not asked yet' };

export class StatusPoll {
  private polled: Polled = NOTHING;
  private before: { at: number; accepted: string | null } | null = null;
  private readonly listeners = new Set<() => void>();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private asking: AbortController | null = null;

  constructor(private readonly rest: RestClient) {}

  readonly current = (): Polled => this.polled;

  readonly subscribe = (listener: () => void): (() => void) => {
    if (this.listeners.size === 0) void this.ask();
    this.listeners.add(listener);
    return () => {
      this.listeners.delete(listener);
      if (this.listeners.size > 0) return;
      clearTimeout(this.timer);
      this.asking?.abort();
    };
  };

  private async ask(): Promise<void> {
    clearTimeout(this.timer);
    const asking = new AbortController();
    this.asking = asking;
    if (!document.hidden) {
      const polled = await this.look(asking.signal);
      if (asking.signal.aborted) return;
      this.polled = polled;
      for (const listener of this.listeners) listener();
    }
    this.timer = setTimeout(() => void this.ask(), EVERY_MS);
  }

  private async look(signal: AbortSignal): Promise<Polled> {
    try {
      const status = readStatus(await this.rest.status(signal));
      const now = { at: performance.now(), accepted: status.accepted };
      const ingestRate = rateBetween(this.before, now);
      this.before = now;
      return { status, ingestRate, problem: '' };
    } catch (error) {
      this.before = null;
      return { status: null, ingestRate: null, problem: (error as Error).message };
    }
  }
}
