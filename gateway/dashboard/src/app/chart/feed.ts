// The bars of one symbol and interval: history by REST, then live, older ones when asked for.

import {
  BarSeries,
  RestError,
  compareDecimal,
  type Bar,
  type BarsQuery,
  type Change,
  type MarketDataClient,
  type RestClient,
  type StreamError,
  type Subscription,
} from '../../client';
import { isLong } from './usual';

export interface BarFeedEvents {
  /** Many bars at once. */
  onReset(): void;
  onBar(bar: Bar, change: Change): void;
  onStatus(status: BarFeedStatus): void;
}

export interface BarFeedStatus {
  readonly phase: 'loading' | 'live' | 'failed';
  readonly problem: string;
  /** Whether all older bars are here. */
  readonly complete: boolean;
}

const PAGE = 1_000;
// A late trade changes bars for 15 minutes. What was revised between the answer of REST and the
// start of the subscription comes again with it.
const OVERLAP_NS = 20n * 60n * 1_000_000_000n;
const RETRY_MS = 2_000;
// Bars of weeks and more are read again while days change, at most so often.
const REREAD_MS = 2_000;

export class BarFeed {
  readonly series = new BarSeries();
  private readonly aborting = new AbortController();
  private subscription: Subscription | null = null;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private reread: ReturnType<typeof setTimeout> | undefined;
  private loadingOlder = false;
  private complete = false;
  private phase: BarFeedStatus['phase'] = 'loading';

  constructor(
    private readonly client: MarketDataClient,
    private readonly rest: RestClient,
    readonly symbol: string,
    readonly interval: string,
    private readonly events: BarFeedEvents,
  ) {}

  async start(): Promise<void> {
    this.say('loading');
    try {
      const bars = await this.ask({ limit: PAGE, includePartial: true });
      if (this.aborting.signal.aborted) return;
      bars.forEach((bar) => this.series.put(bar));
      this.complete = bars.length < PAGE;
      this.events.onReset();
      this.follow();
      this.say('live');
    } catch (error) {
      if (this.aborting.signal.aborted) return;
      this.say('failed', describe(error));
      // What cannot be understood now will not be in two seconds.
      const hopeless = error instanceof RestError && error.status >= 400 && error.status < 429;
      if (!hopeless) this.retry = setTimeout(() => void this.start(), RETRY_MS);
    }
  }

  /** Load the bars before the first one. */
  async older(): Promise<void> {
    const { first } = this.series;
    if (this.loadingOlder || this.complete || first === undefined) return;
    this.loadingOlder = true;
    try {
      const bars = await this.ask({ limit: PAGE, to: first.startNs });
      if (this.aborting.signal.aborted) return;
      bars.forEach((bar) => this.series.put(bar));
      this.complete = bars.length < PAGE;
      this.events.onReset();
      this.say(this.phase);
    } catch (error) {
      if (!this.aborting.signal.aborted) this.say(this.phase, describe(error));
    } finally {
      this.loadingOlder = false;
    }
  }

  stop(): void {
    this.aborting.abort();
    clearTimeout(this.retry);
    clearTimeout(this.reread);
    this.subscription?.close();
  }

  private async ask(query: BarsQuery): Promise<readonly Bar[]> {
    try {
      const { signal } = this.aborting;
      return (await this.rest.bars(this.symbol, this.interval, query, signal)).bars;
    } catch (error) {
      // Its first trade may come at any time.
      if (error instanceof RestError && error.type === 'urn:market-data:unknown-symbol') return [];
      throw error;
    }
  }

  private follow(): void {
    if (isLong(this.interval)) this.followDays();
    else this.followBars();
  }

  // Each change of a day is one of the bar that has it.
  private followDays(): void {
    this.subscription = this.client.bars(
      { symbols: [this.symbol], interval: '1d' },
      {
        onBar: () => this.readSoon(),
        onError: (error: StreamError) => this.say('failed', error.message),
      },
    );
  }

  private readSoon(): void {
    this.reread ??= setTimeout(() => void this.readAgain(), REREAD_MS);
  }

  private async readAgain(): Promise<void> {
    // A change that comes while the answer is on its way asks once more.
    this.reread = undefined;
    try {
      // A late trade may have changed the bar before the last one.
      this.putAll(await this.ask({ limit: 2, includePartial: true }));
    } catch {
      if (!this.aborting.signal.aborted) this.readSoon();
    }
  }

  private putAll(bars: readonly Bar[]): void {
    if (this.aborting.signal.aborted) return;
    for (const bar of bars) {
      const put = this.series.put(bar);
      if (put !== null) this.events.onBar(bar, put.change);
    }
  }

  private followBars(): void {
    const since = sinceOf(this.series);
    this.subscription = this.client.bars(
      { symbols: [this.symbol], interval: this.interval, ...(since !== null && { since }) },
      {
        onBar: (bar) => {
          const put = this.series.put(bar);
          if (put !== null) this.events.onBar(bar, put.change);
        },
        onError: (error: StreamError) => {
          // After a long absence it asks for more at once than the gateway gives.
          if (error.code === 'history_too_long') void this.start();
          else this.say('failed', error.message);
        },
      },
    );
  }

  private say(phase: BarFeedStatus['phase'], problem = ''): void {
    this.phase = phase;
    this.events.onStatus({ phase, problem, complete: this.complete });
  }
}

/** Return from where on bars have to come again so that none of their states is missing. */
export function sinceOf(series: BarSeries): string | null {
  const { first, last } = series;
  if (first === undefined || last === undefined) return null;
  const again = String(BigInt(last.startNs) - OVERLAP_NS);
  return compareDecimal(again, first.startNs) > 0 ? again : first.startNs;
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
