"""Construct everything an aggregator needs but its server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from importlib.metadata import version
from random import Random

import structlog

from aggregator.bars.engine import BarEngine
from aggregator.bars.event_bars import EventBars
from aggregator.bars.event_series import EventBarsFactory
from aggregator.bars.plan import BarPlan
from aggregator.bars.refusals import Refusals
from aggregator.book import Book
from aggregator.checkpoint.state import CoreState, describe_setup
from aggregator.coverage.feeds import Feeds
from aggregator.history.reader import BarReader
from aggregator.market import Market
from aggregator.producers.producers import Producers
from aggregator.rpc.service import MarketDataService
from aggregator.sessions.calendars import load_rules
from aggregator.sessions.sessions import SessionRules
from aggregator.settings import AggregatorSettings
from aggregator.store.address import parse_store
from aggregator.store.database import Database
from aggregator.store.retention import read_retention
from aggregator.store.store import BarStore
from aggregator.watch.bar_watchers import BarWatchers
from aggregator.watch.close_timer import CloseTimer
from aggregator.watch.watchers import Watchers
from marketdata.intervals import Interval
from marketdata.warm import load_kernels

log = structlog.get_logger()

# How many topics of bars one Watch stream may have, and how many bars may wait for it: at the end
# of an hour 100,000 symbols close four bars each.
MAX_TOPICS = 1_000_000
MAX_WAITING_BARS = 500_000
# How often the times with a feed are stored.
SAVE_SPANS_S = 60.0
# How long the wall clock closes nothing after an orderly stop, unless all senders come back
# earlier, and how long they then have to send what they hold.
AWAIT_SENDERS_S = 10
SETTLE_S = 1.0


def _event_bars(
    plan: BarPlan, rules: SessionRules, feeds: Feeds, refusals: Refusals
) -> EventBarsFactory:
    def make(symbol: str, interval: Interval) -> EventBars:
        return EventBars(
            symbol,
            interval,
            grace_ns=plan.grace_ns,
            coverage=feeds.coverage,
            phase=rules.rule_for(symbol).phase,
            refused=refusals.count,
        )

    return make


class Core:
    """The trades and bars of all symbols, and the RPCs that read them.

    Args:
        settings: the operator's settings.
        clock: the wall clock in ns.
        tell_store: called with False when the store begins to fail, with True when it works again.
    """

    def __init__(
        self,
        settings: AggregatorSettings,
        clock: Callable[[], int],
        tell_store: Callable[[bool], None],
    ) -> None:
        load_kernels()
        self._clock = clock
        self._store_drain_s = settings.store_drain_s
        rules = load_rules(
            settings.session, settings.calendars, anchored=settings.bar_anchor == "session"
        )
        plan = settings.bar_plan()
        self.feeds = Feeds(settings.live_within_s, started_ns=clock())
        self._refusals = Refusals()
        engine = BarEngine(
            plan,
            rules.rule_for,
            self.feeds.coverage,
            _event_bars(plan, rules, self.feeds, self._refusals),
            self._refusals,
        )
        bar_watchers = engine.output.listener = BarWatchers(
            engine.series, MAX_TOPICS, MAX_WAITING_BARS
        )
        book = Book(
            engine,
            max_symbols=settings.max_symbols,
            # A new number at each start: sequences of an earlier run do not compare with ours.
            epoch=time.time_ns(),
            limits=settings.value_limits,
        )
        self.watchers = Watchers(settings.max_symbols, book, bar_watchers)
        self.store = store = _open_store(settings, tell_store)
        self._close_timer = CloseTimer(engine, clock, lambda: store is None or store.room.is_free)
        if self.store is not None:
            engine.output.sink = self.store
        reader = BarReader(
            engine.series,
            self.store,
            intervals={interval.name: interval for interval in engine.series.plan.intervals},
            hours=rules.rule_for,
            coverage=self.feeds.coverage,
            refused=self._refusals.count,
            epoch=lambda: book.epoch,
        )
        self._producers = Producers(settings.max_producers)
        self.market = Market(
            book,
            self._producers,
            self.watchers.notify,
            settings.max_future_skew_s,
        )
        self.service = MarketDataService(
            self.market,
            settings.tick_rules(),
            reader,
            self.feeds,
            self.watchers,
            store=self.store,
            clock=clock,
        )
        self.state = CoreState(
            self.market,
            self.feeds,
            describe_setup(
                plan,
                session=settings.session,
                calendars=settings.calendars,
                anchor=settings.bar_anchor,
            ),
            version("market-data-server"),
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def restore(self) -> None:
        """Load the bars of the last run; call it before the first tick."""
        if self.store is None:
            return
        engine = self.market.book.engine
        plan = engine.series.plan
        await self.store.start()
        stop = self.store.last_stop
        # After a crash too: the stored bars have at least the trades up to these sequences.
        self._producers.restore({name: mark.last_sequence for name, mark in stop.senders.items()})
        if stop.is_last:
            self.feeds.restore(stop.senders)
        for start, end in await self.store.load_spans():
            self.feeds.spans.add(start, end)
        self._refusals.restore(await self.store.load_refusals())
        bars = await self.store.restore(plan.intervals, plan.revise_ns, plan.max_closed)
        engine.restore(bars, self._clock(), is_whole=stop.is_last)
        self.market.book.open_restored()
        self._tasks.append(asyncio.create_task(self._keep_spans(self.store)))
        if bars:
            log.info("bars_restored", count=len(bars), after_orderly_stop=stop.is_last)

    def start(self) -> None:
        """Begin to close bars by the wall clock, when the senders of the last run are back."""
        if self.feeds.awaits_senders:
            self._tasks.append(asyncio.create_task(self._await_senders()))
        else:
            self._close_timer.start()

    async def _await_senders(self) -> None:
        # They still have trades for the bars that the last run left open.
        for _ in range(AWAIT_SENDERS_S):
            if not self.feeds.awaits_senders:
                break
            await asyncio.sleep(1.0)
        await asyncio.sleep(SETTLE_S)
        self._close_timer.start()

    async def stop(self) -> None:
        """Stop the timer that closes bars, and store all closed and open bars."""
        self._close_timer.stop()
        self.service.log_drops()
        for task in self._tasks:
            task.cancel()
        if self.store is not None:
            engine = self.market.book.engine
            await self._save_refusals(self.store)
            await self.store.stop(
                self._store_drain_s,
                engine.last_bars(),
                self.feeds.all_spans(self._clock()),
                self.feeds.marks(self._producers.all()),
            )

    async def _keep_spans(self, store: BarStore) -> None:
        # Until cancelled. After a crash the last minutes count as a time without a feed: trades of
        # them may have been on their way.
        engine = self.market.book.engine
        while True:
            await asyncio.sleep(SAVE_SPANS_S)
            spans = self.feeds.all_spans(self._clock() - self.feeds.live_within_ns)
            if await self._save_refusals(store):
                await store.save_spans(spans, engine.open_ends())

    async def _save_refusals(self, store: BarStore) -> bool:
        changed = self._refusals.take_changes()
        is_saved = await store.save_refusals(changed)
        if not is_saved:
            self._refusals.changed.update(changed)
        return is_saved


def _open_store(settings: AggregatorSettings, tell: Callable[[bool], None]) -> BarStore | None:
    url = parse_store(settings.store)
    if url is None:
        return None
    return BarStore(
        Database(url),
        max_waiting=settings.store_max_waiting,
        retention=read_retention(settings.retention),
        tell=tell,
        random=Random(),  # noqa: S311  it spreads the attempts
    )
