"""Construct everything an aggregator needs but its server."""

from __future__ import annotations

import asyncio
import json
import os
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
from aggregator.checkpoint.format import VERSION
from aggregator.checkpoint.state import CoreState, describe_setup, dump
from aggregator.coverage.feeds import Feeds
from aggregator.history.reader import BarReader
from aggregator.machine.checkpointer import Checkpointer
from aggregator.machine.inputs import Start
from aggregator.machine.journal import Journal
from aggregator.machine.machine import Machine
from aggregator.machine.recovery import Found, find_history, recover
from aggregator.machine.status import log_status
from aggregator.market import Market
from aggregator.producers.producers import Producers
from aggregator.rpc.service import MarketDataService
from aggregator.rpc.watching import WatchCalls
from aggregator.sessions.calendars import load_rules
from aggregator.sessions.sessions import SessionRules
from aggregator.settings import AggregatorSettings
from aggregator.store.address import parse_store
from aggregator.store.database import Database
from aggregator.store.retention import read_retention
from aggregator.store.store import BarStore
from aggregator.watch.bar_watchers import BarWatchers
from aggregator.watch.close_timer import CloseTimer
from aggregator.ticklog.log import Checkpoint, TickLog
from aggregator.watch.holding import Holding
from aggregator.watch.recent import Recent
from aggregator.watch.streams import WatchStreams
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
# Grows when the same inputs make another state than in the release before.
RULES = 1
# How long the last inputs and the state may take to be written when the aggregator stops.
LOG_STOP_S = 5.0


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
        self._log: TickLog | None = None
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
        output = engine.output
        recent = Recent(settings.watch_recent_bytes, lambda: output.position)
        bar_watchers = output.listener = BarWatchers(
            engine.series, MAX_TOPICS, MAX_WAITING_BARS, recent
        )
        book = Book(
            engine,
            max_symbols=settings.max_symbols,
            # A new number at each start: sequences of an earlier run do not compare with ours.
            epoch=time.time_ns(),
            limits=settings.value_limits,
        )
        self.watchers = Watchers(settings.max_symbols, book, bar_watchers)
        self.streams = WatchStreams(book, self.watchers)
        self.store = store = _open_store(settings, tell_store)
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
        self.machine = Machine(self.market, self.feeds, self.streams)
        self.journal = Journal(self.machine, clock)
        self.holding = Holding(self.streams, self.journal.watch_ended, settings.watch_hold_s)
        self._close_timer = CloseTimer(
            engine,
            clock,
            lambda: store is None or store.room.is_free,
            self.journal.submit_clock,
        )
        self.service = MarketDataService(
            self.journal,
            settings.tick_rules(),
            reader,
            WatchCalls(book, self.watchers, self.streams, self.journal, self.holding),
            store=self.store,
            log_status=lambda: log_status(self._log, self.checkpointer),
            clock=clock,
        )
        setup = {
            **describe_setup(
                plan,
                session=settings.session,
                calendars=settings.calendars,
                anchor=settings.bar_anchor,
            ),
            "live_within_ns": plan.live_within_ns,
            "max_closed": plan.max_closed,
            "rules": RULES,
        }
        self.state = CoreState(
            self.market,
            self.feeds,
            setup,
            version("market-data-server"),
            {"machine": self.machine},
        )
        self.fingerprint = json.dumps(setup)
        self._limits = settings.limits()
        self._settings = settings
        self.checkpointer: Checkpointer | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def restore(self, tick_log: TickLog | None = None) -> None:
        """Take up the state of the last run; call it before the first tick.

        Args:
            tick_log: takes each input before it is applied; None: nothing does.

        Raises:
            StartError: the log cannot be used.
        """
        self._log = tick_log
        if self.store is not None:
            await self.store.start()
        taken = 0 if self.store is None else self.store.last_stop.epoch
        found = None if self._log is None else self._find_history(self._log, taken)
        if self._log is not None and found is not None:
            start = await self._recover(self._log, found)
        else:
            start = await self._begin(taken)
        if self._log is not None:
            self.journal.use(self._log)
        await self.journal.begin(start)
        # Their readers come back.
        self.holding.hold_all()
        if self.store is not None:
            await self.store.take(start.epoch)
            self._tasks.append(asyncio.create_task(self._keep_spans(self.store)))

    def _find_history(self, tick_log: TickLog, taken: int) -> Found | None:
        found = find_history(tick_log, self.fingerprint)
        if found is not None and found.start.epoch < taken:
            log.error(
                "log_not_used",
                reason="the store has bars of a later run without this log",
                consequence="the state begins with the stored bars, under a new epoch",
            )
            return None
        if found is None and tick_log.next_offset > tick_log.first_offset:
            log.error(
                "log_not_used",
                reason="no checkpoint fits the settings, and its first records are gone",
                consequence="the state begins with the stored bars, under a new epoch",
            )
        return found

    async def _recover(self, tick_log: TickLog, found: Found) -> Start:
        replayed = await recover(
            tick_log, found, self.machine, self.state, wait_for_room=self._wait_for_store
        )
        last = self.machine.started or found.start
        is_same = last.fingerprint == self.fingerprint
        log.info(
            "log_recovered",
            checkpoint=found.offset if found.content is not None else None,
            records=replayed.records,
            ticks=replayed.ticks,
            seconds=round(replayed.seconds, 3),
            offset=tick_log.next_offset,
            same_epoch=is_same,
        )
        if not is_same:
            log.warning("settings_changed", consequence="all ticks were applied anew, new epoch")
        epoch = last.epoch if is_same else max(time.time_ns(), last.epoch + 1)
        return self._start(epoch, last.began_at, empty=last.began_empty)

    async def _wait_for_store(self) -> None:
        if self.store is not None and not self.store.room.is_free:
            await self.store.room.wait()

    def _start(self, epoch: int, began_at: int, *, empty: bool) -> Start:
        return Start(epoch, self.fingerprint, began_at, empty, self._limits, self.state.release)

    # Begins a history, with what the store has.
    async def _begin(self, taken: int) -> Start:
        is_empty = self.store is None or not await self._restore_from(self.store)
        began_at = 0 if self._log is None else self._log.next_offset
        # A new number: sequences of an earlier history do not compare with ours.
        start = self._start(max(time.time_ns(), taken + 1), began_at, empty=is_empty)
        self.market.start(start.epoch, 0)
        if self._log is not None:
            self.machine.started = start
            self.machine.position = began_at - 1
            if not is_empty:
                # The records alone do not have this.
                content = list(dump(self.state))
                checkpoint = Checkpoint(began_at, VERSION)
                await asyncio.to_thread(self._log.save_checkpoint, checkpoint, content)
        return start

    async def _restore_from(self, store: BarStore) -> bool:
        engine = self.market.book.engine
        plan = engine.series.plan
        stop = store.last_stop
        # After a crash too: the stored bars have at least the trades up to these sequences.
        self._producers.restore({name: mark.last_sequence for name, mark in stop.senders.items()})
        if stop.is_last:
            self.feeds.restore(stop.senders)
        spans = await store.load_spans()
        for start, end in spans:
            self.feeds.spans.add(start, end)
        refusals = await store.load_refusals()
        self._refusals.restore(refusals)
        bars = await store.restore(plan.intervals, plan.revise_ns, plan.max_closed)
        engine.restore(bars, self._clock(), is_whole=stop.is_last)
        self.market.book.open_restored()
        if bars:
            log.info("bars_restored", count=len(bars), after_orderly_stop=stop.is_last)
        return bool(bars or stop.senders or spans or refusals)

    def _make_checkpointer(self, tick_log: TickLog) -> Checkpointer:
        store = self.store
        checkpointer = Checkpointer(
            tick_log,
            position=lambda: self.machine.position,
            handed=lambda: 0 if store is None else store.handed,
            written=_nothing_to_write if store is None else store.wait_written,
            env={**os.environ, **self._settings.to_env()},
            every_s=self._settings.checkpoint_s,
        )
        self.journal.notify(self._settings.checkpoint_bytes, checkpointer.ask)
        return checkpointer

    def start(self) -> None:
        """Begin to close bars by the wall clock, when the senders of the last run are back."""
        if self._log is not None:
            self.checkpointer = self._make_checkpointer(self._log)
            self.checkpointer.start()
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
        """Stop the timer that closes bars, store all bars, and save the state beside the log."""
        self._close_timer.stop()
        self.holding.stop()
        self.service.log_drops()
        for task in self._tasks:
            task.cancel()
        if self.checkpointer is not None:
            await self.checkpointer.stop()
        is_stored = self.store is None or await self._stop_store(self.store)
        if self._log is not None:
            await self._stop_log(self._log, is_stored=is_stored)

    async def _stop_store(self, store: BarStore) -> bool:
        engine = self.market.book.engine
        await self._save_refusals(store)
        # With a log the state goes on as it is. Then trades that wait for others still wait, and a
        # start without the log must not trust the bars that lack them.
        is_exact = self._log is None or not engine.series.plan.by_trades
        return await store.stop(
            self._store_drain_s,
            engine.last_bars() if self._log is None else engine.present_bars(),
            self.feeds.all_spans(self._clock()),
            self.feeds.marks(self._producers.all()) if is_exact else None,
        )

    async def _stop_log(self, tick_log: TickLog, *, is_stored: bool) -> None:
        # Of a log that cannot be written nothing more is expected: what waits was not acknowledged.
        try:
            async with asyncio.timeout(0 if tick_log.problem else LOG_STOP_S):
                await self.journal.settle()
                if is_stored:
                    await self._save_state(tick_log)
        except (OSError, TimeoutError) as exc:
            log.error("checkpoint_failed", problem=str(exc) or "it took too long")
        await tick_log.close()

    async def _save_state(self, tick_log: TickLog) -> None:
        # Nothing changes the state any more, so its arrays may be written elsewhere.
        content = list(dump(self.state))
        checkpoint = Checkpoint(self.machine.position + 1, VERSION)
        await asyncio.to_thread(tick_log.save_checkpoint, checkpoint, content)
        log.info("checkpoint_saved", offset=checkpoint.offset)

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


async def _nothing_to_write(_count: int) -> None:
    pass


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
