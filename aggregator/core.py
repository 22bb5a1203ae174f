"""Construct what an aggregator is behind its server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

import structlog

from aggregator.bar_watchers import BarWatchers
from aggregator.bars.completion import Completions
from aggregator.bars.engine import BarEngine
from aggregator.bars.event_bars import EventBars
from aggregator.bars.event_lane import EventBarsFactory
from aggregator.bars.plan import BarPlan
from aggregator.book import Book
from aggregator.calendars import load_rules
from aggregator.close_timer import CloseTimer
from aggregator.feeds import Feeds
from aggregator.history.reader import BarReader
from aggregator.market import Market
from aggregator.producers import Producers
from aggregator.service import MarketDataService
from aggregator.sessions import SessionRules
from aggregator.settings import AggregatorSettings
from aggregator.shards.owners import owner_of
from aggregator.store.address import parse_store
from aggregator.store.database import SQLITE_BUSY_S, Database
from aggregator.store.kept import read_retention
from aggregator.store.store import BarStore
from aggregator.watchers import Watchers
from marketdata.intervals import Interval
from marketdata.validation import TickRules
from marketdata.warm import load_kernels

log = structlog.get_logger()

# The bars of every symbol by name, and what may wait of them for one slow Watch stream: at the end
# of an hour 100,000 symbols close four bars each.
MAX_TOPICS = 1_000_000
MAX_WAITING_BARS = 500_000
# How often it is stored when there was a feed.
SAVE_SPANS_S = 60.0
# Several processes take turns with one file.
SHARED_BUSY_S = 20.0


@dataclass(frozen=True, slots=True)
class Share:
    """What one of several workers has of the whole."""

    number: int
    workers: int
    epoch: int
    completion: Completions

    def owns(self, symbol: str) -> bool:
        """Return whether a symbol is this worker's."""
        return owner_of(symbol, self.workers) == self.number


def _event_bars(plan: BarPlan, rules: SessionRules, feeds: Feeds) -> EventBarsFactory:
    def make(symbol: str, interval: Interval) -> EventBars:
        return EventBars(
            symbol,
            interval,
            grace_ns=plan.grace_ns,
            coverage=feeds.coverage,
            phase=rules.rule_for(symbol).phase,
        )

    return make


class Core:
    """The trades and bars of some symbols or of all, and who asks for them.

    Args:
        settings: of the whole aggregator.
        clock: the wall clock in ns.
        tell_store: called when the store begins to fail and when it works again.
        share: which part of the symbols; None: all.
    """

    def __init__(
        self,
        settings: AggregatorSettings,
        clock: Callable[[], int],
        tell_store: Callable[[bool], None],
        share: Share | None = None,
    ) -> None:
        load_kernels()
        self._clock = clock
        self._store_drain_s = settings.store_drain_s
        self._share = share
        self._max_closed = settings.max_closed_bars
        rules = load_rules(
            settings.session, settings.calendars, anchored=settings.bar_anchor == "session"
        )
        plan = settings.bar_plan()
        if share is not None:
            plan = replace(plan, max_closed=_part(plan.max_closed, share))
        self.feeds = Feeds(settings.live_within_s)
        engine = BarEngine(
            plan,
            rules.rule_for,
            self.feeds.coverage,
            _event_bars(plan, rules, self.feeds),
            completion=share.completion if share else None,
        )
        bar_watchers = engine.audience = BarWatchers(engine, MAX_TOPICS, MAX_WAITING_BARS)
        self._close_timer = CloseTimer(engine, clock)
        book = Book(
            engine,
            max_symbols=settings.max_symbols,
            # Nothing of an earlier life is left, so its sequences must not be compared with ours.
            epoch=share.epoch if share else time.time_ns(),
        )
        self.watchers = Watchers(settings.max_symbols, book, bar_watchers)
        self.store = _open_store(settings, tell_store, share)
        if self.store is not None:
            engine.sink = self.store
        reader = BarReader(
            engine,
            self.store,
            intervals={interval.name: interval for interval in engine.plan.intervals},
            hours=rules.rule_for,
            coverage=self.feeds.coverage,
            epoch=book.epoch,
        )
        self.market = Market(
            book, Producers(settings.max_producers), self.watchers, settings.max_future_skew_s
        )
        tick_rules = TickRules(
            timestamp_unit=settings.timestamp_unit, max_future_skew_s=settings.max_future_skew_s
        )
        self.service = MarketDataService(
            self.market,
            tick_rules,
            reader,
            self.feeds,
            store=self.store,
            clock=clock,
            every_marker=share is not None,
        )
        self._keeping_spans: asyncio.Task[None] | None = None

    async def restore(self) -> None:
        """Take over the bars of an earlier life, before the first tick."""
        # Then open bars go on as if nothing had been.
        if self.store is None:
            return
        engine = self.market.book.engine
        plan = engine.plan
        await self.store.start()
        for start, end in await self.store.load_spans():
            self.feeds.spans.add(start, end)
        bars = await self.store.restore(
            plan.intervals,
            plan.revise_ns,
            # Of all workers, who find each other's among theirs.
            self._max_closed,
            self._share.owns if self._share else lambda _symbol: True,
        )
        engine.restore(bars, self._clock())
        if self._keeps_spans:
            self._keeping_spans = asyncio.create_task(self._keep_spans(self.store))
        if bars:
            log.info("bars restored", count=len(bars))

    def start(self) -> None:
        """Let the wall clock close bars."""
        self._close_timer.start()

    async def stop(self, *, keep_open: bool = True) -> None:
        """Let no clock close bars any more, and see the last ones stored.

        Args:
            keep_open: whether open bars are to go on where they are now in the next life.
        """
        self._close_timer.stop()
        self.service.log_drops()
        if self._keeping_spans is not None:
            self._keeping_spans.cancel()
        if self.store is not None:
            if self._keeps_spans:
                await self.store.save_spans(self.feeds.all_spans(self._clock()))
            left_open = self.market.book.engine.open_bars() if keep_open else []
            await self.store.stop(self._store_drain_s, left_open)

    @property
    def _keeps_spans(self) -> bool:
        # All workers know the same ones.
        return self._share is None or self._share.number == 0

    async def _keep_spans(self, store: BarStore) -> None:
        # Until cancelled. After a crash the last minute counts as one without a feed.
        while True:
            await asyncio.sleep(SAVE_SPANS_S)
            await store.save_spans(self.feeds.all_spans(self._clock()))


def _open_store(
    settings: AggregatorSettings, tell: Callable[[bool], None], share: Share | None
) -> BarStore | None:
    url = parse_store(settings.store)
    if url is None:
        return None
    max_waiting, retention = settings.store_max_waiting, read_retention(settings.retention)
    if share is not None:
        max_waiting = _part(max_waiting, share)
        if share.number:
            # One removes for all.
            retention = {}
    return BarStore(
        Database(url, busy_s=SQLITE_BUSY_S if share is None else SHARED_BUSY_S),
        max_waiting=max_waiting,
        retention=retention,
        tell=tell,
        random=Random(),  # noqa: S311  it spreads the attempts
    )


def _part(limit: int, share: Share) -> int:
    return -(-limit // share.workers)
