// The questions that are asked once: history, lists, status.

import type { Aggregate, Bar } from './messages';

/** An answer that is not what was asked for: RFC 9457, or no answer at all. */
export class RestError extends Error {
  constructor(
    /** HTTP's, or 0 if there was no answer. */
    readonly status: number,
    message: string,
    readonly retryAfterS: number | null = null,
    /** Tells the kind, such as `urn:market-data:unknown-symbol`. */
    readonly type = 'about:blank',
  ) {
    super(message);
    this.name = 'RestError';
  }
}

export interface BarsQuery {
  /** Milliseconds, nanoseconds or ISO 8601; from <= start < to. */
  readonly from?: string;
  readonly to?: string;
  readonly limit?: number;
  readonly cursor?: string;
  readonly fill?: 'none' | 'prev' | 'null';
  readonly includePartial?: boolean;
}

export interface BarsPage {
  readonly symbol: string;
  readonly interval: string;
  readonly bars: readonly Bar[];
  readonly nextCursor: string | null;
}

export interface SymbolsPage {
  readonly symbols: readonly string[];
  readonly nextCursor: string | null;
}

export interface RestOptions {
  /** The gateway; by default where the page comes from. */
  readonly url?: string;
  /** How often an answer of 429 or 503 is waited out. */
  readonly retries?: number;
  readonly fetch?: typeof globalThis.fetch;
}

const DEFAULT_RETRIES = 3;
const DEFAULT_RETRY_AFTER_S = 1;

export class RestClient {
  private readonly base: string;
  private readonly retries: number;
  private readonly fetch: typeof globalThis.fetch;

  constructor(options: RestOptions = {}) {
    this.base = options.url ?? location.href;
    this.retries = options.retries ?? DEFAULT_RETRIES;
    this.fetch = options.fetch ?? ((input, init) => globalThis.fetch(input, init));
  }

  aggregate(symbol: string, signal?: AbortSignal): Promise<Aggregate> {
    return this.get(`api/v1/marketdata/${encodeURIComponent(symbol)}`, {}, signal);
  }

  bars(
    symbol: string,
    interval: string,
    query: BarsQuery = {},
    signal?: AbortSignal,
  ): Promise<BarsPage> {
    const { includePartial, ...rest } = query;
    const parameters = { symbol, interval, ...rest, include_partial: includePartial };
    // Not in the path: there some proxies make a slash of %2F, and browsers follow a symbol `..`.
    return this.get('api/v1/bars', parameters, signal);
  }

  symbols(prefix: string, limit: number, signal?: AbortSignal): Promise<SymbolsPage> {
    return this.get('api/v1/symbols', { prefix, limit }, signal);
  }

  /** What an operator wants to know; see docs/rest.md. */
  status(signal?: AbortSignal): Promise<Record<string, unknown>> {
    return this.get('api/v1/status', {}, signal);
  }

  private async get<T>(
    path: string,
    parameters: Record<string, string | number | boolean | undefined>,
    signal?: AbortSignal,
  ): Promise<T> {
    const url = new URL(path, this.base);
    for (const [name, value] of Object.entries(parameters)) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    for (let attempt = 0; ; attempt++) {
      try {
        return (await this.ask(url, signal)) as T;
      } catch (error) {
        if (!(error instanceof RestError) || error.retryAfterS === null) throw error;
        if (attempt >= this.retries) throw error;
        await pause(error.retryAfterS * 1000, signal);
      }
    }
  }

  private async ask(url: URL, signal: AbortSignal | undefined): Promise<unknown> {
    let response: Response;
    try {
      response = await this.fetch(url, { cache: 'no-store', ...(signal && { signal }) });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new RestError(0, 'the gateway does not answer');
    }
    if (response.ok) return response.json();
    const problem = (await response.json().catch(() => ({}))) as Partial<Record<string, unknown>>;
    const detail = String(problem['detail'] ?? problem['title'] ?? response.statusText);
    const type = String(problem['type'] ?? 'about:blank');
    throw new RestError(response.status, detail, retryAfter(response), type);
  }
}

function retryAfter(response: Response): number | null {
  if (response.status !== 429 && response.status !== 503) return null;
  const seconds = Number(response.headers.get('Retry-After') ?? DEFAULT_RETRY_AFTER_S);
  return Number.isFinite(seconds) && seconds >= 0 ? seconds : DEFAULT_RETRY_AFTER_S;
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(done, ms);
    function done() {
      signal?.removeEventListener('abort', aborted);
      resolve();
    }
    function aborted() {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    }
    signal?.addEventListener('abort', aborted, { once: true });
  });
}

