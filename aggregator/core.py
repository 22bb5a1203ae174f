"""Construct everything an aggregator needs but its server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from importlib.metadata import version
from random import Random
from typing import Any

import structlog

from aggregator.bars.engine import BarEngine
from aggregator.bars.event_bars import EventBars
from aggregator.bars.event_series import EventBarsFactory
from aggregator.bars.plan import BarPlan
from aggregator.bars.refusals import Refusals
from aggregator.book import Book
from aggregator.checkpoint.state import CoreState, describe_setup
from aggregator.coverage.feeds import Feeds
from aggregator.history.long_bars import LongRules
from aggregator.history.query import DAY
from aggregator.history.reader import BarReader
from aggregator.machine.journal import Journal
from aggregator.machine.machine import Machine
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
from aggregator.views.views import Views, parse_views
from aggregator.watch.bar_watchers import BarWatchers
from aggregator.watch.close_timer import CloseTimer
from aggregator.watch.holding import Holding
from aggregator.watch.recent import Recent
from aggregator.watch.slices import MAX_SYMBOLS
from aggregator.watch.streams import WatchStreams
from aggregator.watch.watchers import Watchers
from marketdata.intervals import Interval
from marketdata.warm import load_kernels

log = structlog.get_logger()

# How many topics of bars one Watch stream may have, and how many bars may wait for it: at the end
# of an hour 100,000 symbols close four bars each.
MAX_TOPICS = 1_000_000
MAX_WAITING_BARS = 500_000
# Grows when the same inputs make another state than in the release before.
RULES = 1


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


def _make_engine(plan: BarPlan, rules: SessionRules, feeds: Feeds, refusals: Refusals) -> BarEngine:
    event_bars = _event_bars(plan, rules, feeds, refusals)
    return BarEngine(plan, rules.rule_for, feeds.coverage, event_bars, refusals)


def _long_rules(
    settings: AggregatorSettings, engine: BarEngine, clock: Callable[[], int]
) -> LongRules:
    kept_ns = read_retention(settings.retention).get(DAY)

    def time_of(symbol: str) -> int:
        now_ns = clock()
        found = engine.time(symbol, now_ns)
        return now_ns if found is None else found

    return LongRules(
        settings.period_plan(),
        settings.bar_plan().grace_ns,
        time_of,
        lambda: 0 if kept_ns is None else clock() - kept_ns,
    )


# What the state depends on, besides the inputs.
def _describe_setup(settings: AggregatorSettings, plan: BarPlan) -> dict[str, Any]:
    return {
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
        self.clock = clock
        rules = load_rules(
            settings.session, settings.calendars, anchored=settings.bar_anchor == "session"
        )
        plan = settings.bar_plan()
        self.feeds = Feeds(settings.live_within_s, started_ns=clock())
        self.refusals = Refusals()
        engine = _make_engine(plan, rules, self.feeds, self.refusals)
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
            max_trade_ids=settings.max_trade_ids,
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
            refused=self.refusals.count,
            epoch=lambda: book.epoch,
            long_rules=_long_rules(settings, engine, clock),
        )
        self.producers = Producers(settings.max_producers)
        self.market = Market(
            book,
            self.producers,
            self.watchers.notify,
            settings.max_future_skew_s,
            Views(parse_views(settings.views)),
        )
        self.machine = Machine(self.market, self.feeds, self.streams)
        self.journal = Journal(self.machine, clock)
        self.holding = Holding(self.streams, self.journal.watch_ended, settings.watch_hold_s)
        self.close_timer = CloseTimer(
            engine,
            clock,
            lambda: store is None or store.room.is_free,
            self.journal.submit_clock,
            _most_at_once(settings, plan),
        )
        self.service = MarketDataService(
            self.journal,
            settings.tick_rules(),
            reader,
            WatchCalls(book, self.watchers, self.streams, self.journal, self.holding),
            store=self.store,
            clock=clock,
        )
        setup = _describe_setup(settings, plan)
        self.state = CoreState(
            self.market,
            self.feeds,
            setup,
            version("market-data-server"),
            {"machine": self.machine},
        )
        self.fingerprint = json.dumps(setup)
        self.limits = settings.limits()
        self.settings = settings


# How many symbols the clock may close at once: while there is room, half of the bars that may wait
# for the store are free, and a bar may wait in two states.
def _most_at_once(settings: AggregatorSettings, plan: BarPlan) -> int:
    if parse_store(settings.store) is None:
        return MAX_SYMBOLS
    return settings.store_max_waiting // (4 * max(1, len(plan.intervals)))


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
