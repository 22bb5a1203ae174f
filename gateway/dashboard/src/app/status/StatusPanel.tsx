import type { ReactNode } from 'react';

import { useMarket, useStatus, useTicks } from '../hooks';
import {
  NOTHING,
  formatAge,
  formatCount,
  formatLatency,
  formatRate,
  formatShort,
} from '../market/format';
import { LATENCY_BOUNDS, quantile } from '../market/metrics';
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
  const age = market.updatedAt === null ? null : now - market.updatedAt;
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
        {market.gaps}
      </Fact>
    </Block>
  );
}

function Latency() {
  const market = useMarket();
  useTicks(500);
  const counts = market.latency.counts(Date.now());
  const most = Math.max(1, ...counts);
  const p50 = formatLatency(quantile(counts, 0.5));
  const p99 = formatLatency(quantile(counts, 0.99));
  return (
    <div className="block">
      <h2>Tick → screen, 10 s</h2>
      <dl>
        <Fact name="p50">{p50}</Fact>
        <Fact name="p99">{p99}</Fact>
      </dl>
      <div className="histogram" role="img" aria-label={`Latency: p50 ${p50}, p99 ${p99}`}>
        {counts.map((count, index) => (
          <span
            key={LATENCY_BOUNDS[index] ?? 'more'}
            style={{ height: `${count === 0 ? 0 : 6 + (94 * count) / most}%` }}
            title={`${boundText(index)}: ${count}`}
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
      <Fact name="live clients">{status?.clients ?? NOTHING}</Fact>
    </Block>
  );
}

function Ingest() {
  const { status, ingestRate } = useStatus();
  const producers = producersOf(status);
  return (
    <Block title="Ingest">
      <Fact name="Ticks/s">{ingestRate === null ? NOTHING : formatRate(ingestRate)}</Fact>
      <Fact name="Accepted">{formatShort(status?.accepted)}</Fact>
      <Fact name="Symbols">{status?.symbols ?? NOTHING}</Fact>
      <Fact
        name="Feed coverage"
        tone={producers === null ? undefined : producers > 0 ? 'good' : 'bad'}
      >
        {producers === null
          ? NOTHING
          : producers === 0
            ? 'no producer connected'
            : `${producers} producer${producers === 1 ? '' : 's'}`}
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

function boundText(index: number): string {
  const bound = LATENCY_BOUNDS[index];
  return bound === undefined ? 'more' : `up to ${bound} ms`;
}
