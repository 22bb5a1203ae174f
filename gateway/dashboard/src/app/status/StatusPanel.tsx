import type { ReactNode } from 'react';

import type { ServerTime } from '../../client';
import { useMarket, useStatus, useTicks } from '../hooks';
import {
  NOTHING,
  formatAge,
  formatCount,
  formatLatency,
  formatOffset,
  formatRate,
  formatShort,
} from '../market/format';
import { barsOf } from '../market/metrics';
import { connectionText, countdown } from './connection';
import { producersOf } from './model';

export function StatusPanel() {
  return (
    <section className="panel status" aria-label="Status">
      <Connection />
      <Latency />
      <Services />
      <Ingest />
    </section>
  );
}

function Connection() {
  const market = useMarket();
  useTicks(500);
  const now = Date.now();
  const { connection } = market;
  const { tone, title } = connectionText(connection);
  const age = market.updatedAt === null ? null : { ms: now - market.updatedAt, errorMs: 0 };
  return (
    <Block title="Connection">
      <Fact name="State" tone={tone}>
        {title}
        {countdown(connection, now)}
      </Fact>
      {connection.problem !== null && connection.phase !== 'open' && (
        <Fact name="Why">{connection.problem.message}</Fact>
      )}
      <Fact name="Last update" tone={market.staleSince === null ? undefined : 'bad'}>
        {age === null ? NOTHING : `${formatAge(age)} ago`}
      </Fact>
      <Fact name="Updates/s">{formatRate(market.updates.perSecond(now))}</Fact>
      <Fact name="Conflated" title="States that were left out because this page reads too slowly">
        {formatCount(String(market.conflated))}
      </Fact>
      <Fact name="Gaps" tone={market.gaps > 0 ? 'warn' : undefined}>
        {formatCount(String(market.gaps))}
      </Fact>
    </Block>
  );
}

function Latency() {
  const market = useMarket();
  useTicks(500);
  const bars = barsOf(market.latency.counts(performance.now()));
  const most = Math.max(1, ...bars.map(({ count }) => count));
  const p50 = formatLatency(market.latencyAt(0.5));
  const p99 = formatLatency(market.latencyAt(0.99));
  const { time } = market;
  return (
    <div className="block">
      <h2>Tick → screen, 10 s</h2>
      <dl>
        <Fact name="p50">{p50}</Fact>
        <Fact name="p99">{p99}</Fact>
        <Fact name="This clock" title={clockText(time)}>
          {time === null ? NOTHING : formatOffset({ ...time, ms: Date.now() - time.nowMs })}
        </Fact>
      </dl>
      <div className="histogram" role="img" aria-label={`Latency: p50 ${p50}, p99 ${p99}`}>
        {bars.map(({ toMs, count }) => (
          <span
            key={toMs}
            style={{ height: `${count === 0 ? 0 : 6 + (94 * count) / most}%` }}
            title={`${boundText(toMs)}: ${formatCount(String(count))}`}
          />
        ))}
      </div>
      <div className="scale" aria-hidden="true">
        <span>1</span>
        <span>10</span>
        <span>100</span>
        <span>1 s</span>
        <span>&gt;16 s</span>
      </div>
    </div>
  );
}

function Services() {
  const { status, problem } = useStatus();
  const up = status !== null;
  const feeds = status?.feeds.filter((feed) => feed.connected).length ?? null;
  const breaker = status?.breaker ?? null;
  return (
    <Block title="Services">
      <Fact name="gateway" tone={up ? 'good' : 'bad'}>
        {up ? 'serving' : problem}
      </Fact>
      <Fact name="aggregator" tone={!up ? undefined : status.aggregator === 'ok' ? 'good' : 'bad'}>
        {up ? (status.aggregator === 'ok' ? 'serving' : status.aggregator) : NOTHING}
      </Fact>
      <Fact name="ingest" tone={feeds === null || !up ? undefined : feeds > 0 ? 'good' : 'bad'}>
        {feeds === null || status?.feeds.length === 0 ? NOTHING : `${feeds} connected`}
      </Fact>
      <Fact name="breaker" tone={breaker === null ? undefined : breaker === 'closed' ? 'good' : 'warn'}>
        {breaker ?? NOTHING}
      </Fact>
      <Fact name="store" tone={status?.store === 'failing' ? 'bad' : undefined}>
        {status?.store ?? NOTHING}
      </Fact>
      <Fact name="live clients">{formatCount(status?.clients)}</Fact>
    </Block>
  );
}

function Ingest() {
  const { status, ingestRate } = useStatus();
  const producers = producersOf(status);
  return (
    <Block title="Ingest">
      <Fact name="Ticks/s">{ingestRate === null ? NOTHING : formatRate(ingestRate)}</Fact>
      <Fact name="Accepted" title={formatCount(status?.accepted)}>
        {formatShort(status?.accepted)}
      </Fact>
      <Fact name="Symbols">{formatCount(status?.symbols)}</Fact>
      <Fact
        name="Feed coverage"
        tone={producers === null ? undefined : producers === '0' ? 'bad' : 'good'}
      >
        {producers === null
          ? NOTHING
          : producers === '0'
            ? 'no producer connected'
            : `${formatCount(producers)} producer${producers === '1' ? '' : 's'}`}
      </Fact>
      <Fact name="Rejected" tone={status?.rejected.length ? 'warn' : undefined}>
        {(status?.symbols ?? null) === null ? NOTHING : status?.rejected.length === 0 ? 'none' : ''}
      </Fact>
      {status?.rejected.slice(0, 4).map(([reason, count]) => (
        <Fact key={reason} name={reason.replaceAll('_', ' ')} indent>
          {formatCount(count)}
        </Fact>
      ))}
    </Block>
  );
}

function Block({ title, children }: { readonly title: string; readonly children: ReactNode }) {
  return (
    <div className="block">
      <h2>{title}</h2>
      <dl>{children}</dl>
    </div>
  );
}

interface FactProps {
  readonly name: string;
  readonly tone?: 'good' | 'warn' | 'bad' | undefined;
  readonly title?: string;
  readonly indent?: boolean;
  readonly children: ReactNode;
}

function Fact({ name, tone, title, indent, children }: FactProps) {
  return (
    <div className={`fact${indent ? ' indent' : ''}`} title={title}>
      <dt>{name}</dt>
      <dd className={tone}>{children}</dd>
    </div>
  );
}

function clockText(time: ServerTime | null): string {
  const text = 'How far the clock of this machine is from the gateway’s, which ages are told by';
  return time === null ? `${text}: not known yet` : `${text}, ±${Math.ceil(time.errorMs)} ms`;
}

function boundText(toMs: number): string {
  if (toMs === 0) return 'less than 0 ms';
  return toMs === Infinity ? 'more' : `up to ${Number(toMs.toPrecision(3))} ms`;
}
