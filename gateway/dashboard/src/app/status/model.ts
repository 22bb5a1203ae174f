// What /api/v1/status says, in the form the panel shows. Pure.

import { compareDecimal, type Int64 } from '../../client';

export interface FeedReport {
  readonly name: string;
  readonly connected: boolean;
  /** Connected to it now; null: it has not said. */
  readonly producers: Int64 | null;
  readonly accepted: Int64 | null;
  readonly rejected: Readonly<Record<string, Int64>>;
}

export interface SystemStatus {
  /** What is wrong with the aggregator; `ok`: nothing. */
  readonly aggregator: string;
  /** The circuit breaker: closed, open, half-open; null: not told. */
  readonly breaker: string | null;
  readonly intervals: readonly string[];
  readonly symbols: Int64 | null;
  readonly accepted: Int64 | null;
  readonly feeds: readonly FeedReport[];
  /** By reason, of ingest and aggregator together. */
  readonly rejected: readonly (readonly [reason: string, count: Int64])[];
  readonly store: string | null;
  readonly clients: Int64 | null;
  readonly conflated: Int64 | null;
}

type Json = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const object = (value: unknown): Json => (isObject(value) ? value : {});
const text = (value: unknown): string | null => (typeof value === 'string' ? value : null);
const digits = (value: unknown): Int64 | null =>
  typeof value === 'string' && /^\d+$/.test(value)
    ? value
    : // Beyond it another number may have been written than the one that was read.
      typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
      ? String(value)
      : null;

/** Return the status; what the answer does not say is null or empty. */
export function readStatus(answer: Json): SystemStatus {
  const aggregator = object(answer['aggregator']);
  const gateway = object(answer['gateway']);
  const feeds = (Array.isArray(aggregator['feeds']) ? aggregator['feeds'] : []).map(readFeed);
  const rejected = new Map<string, Int64>();
  for (const counts of [readCounts(aggregator['rejected']), ...feeds.map((feed) => feed.rejected)]) {
    for (const [reason, number] of Object.entries(counts)) {
      rejected.set(reason, String(BigInt(rejected.get(reason) ?? '0') + BigInt(number)));
    }
  }
  const intervals = aggregator['intervals'];
  const store = object(aggregator['store']);
  return {
    aggregator: text(aggregator['status']) ?? 'unknown',
    breaker: text(gateway['breaker']),
    intervals: Array.isArray(intervals) ? intervals.filter((each) => typeof each === 'string') : [],
    symbols: digits(aggregator['symbols']),
    accepted: digits(aggregator['accepted']),
    feeds,
    rejected: [...rejected]
      .filter(([, number]) => number !== '0')
      .sort(([, a], [, b]) => compareDecimal(b, a)),
    store: text(store['state']),
    clients: digits(gateway['clients']),
    conflated: digits(gateway['conflated']),
  };
}

function readFeed(value: unknown): FeedReport {
  const feed = object(value);
  return {
    name: text(feed['producerId']) ?? '',
    connected: feed['connected'] === true,
    producers: digits(feed['producers']),
    accepted: digits(feed['accepted']),
    rejected: readCounts(feed['rejected']),
  };
}

function readCounts(value: unknown): Record<string, Int64> {
  const counts: Record<string, Int64> = {};
  for (const [reason, number] of Object.entries(object(value))) {
    counts[reason] = digits(number) ?? '0';
  }
  return counts;
}

/** How many producers feed the market; null: not told. */
export function producersOf(status: SystemStatus | null): Int64 | null {
  if (status === null || status.feeds.length === 0) return null;
  let sum = 0n;
  for (const { connected, producers } of status.feeds) {
    if (!connected) continue;
    if (producers === null) return null;
    sum += BigInt(producers);
  }
  return String(sum);
}

/** Return how many ticks per second came in between two looks. */
export function rateBetween(
  before: { at: number; accepted: Int64 | null } | null,
  now: { at: number; accepted: Int64 | null },
): number | null {
  if (before === null || before.accepted === null || now.accepted === null) return null;
  if (now.at <= before.at) return null;
  const more = BigInt(now.accepted) - BigInt(before.accepted);
  // It counts from zero again when the aggregator has restarted.
  return more < 0n ? null : (Number(more) * 1000) / (now.at - before.at);
}
