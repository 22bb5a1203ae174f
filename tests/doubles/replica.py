"""Aggregators without sockets: the same inputs go to several, and what they publish is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from aggregator.bars.bar import Bar
from aggregator.bars.engine import BarEngine
from aggregator.bars.event_bars import EventBars
from aggregator.bars.plan import BarPlan
from aggregator.bars.published import Published
from aggregator.bars.refusals import Refusals
from aggregator.book import Book
from aggregator.checkpoint.state import CoreState, describe_setup, dump, load
from aggregator.coverage.feeds import Feeds, SenderMark
from aggregator.market import Market
from aggregator.producers.numbering import InvalidBatch
from aggregator.producers.producers import Producers
from aggregator.sessions.sessions import NoSession, SessionRule, SessionRules, UtcDay, ZoneDay
from aggregator.sessions.trading_days import Calendar, CalendarDay, UsualHours
from marketdata.intervals import Interval
from marketdata.validation import ValueLimits
from tests.doubles.limits import NO_LIMITS
from tests.doubles.random_ticks import START, SYMBOLS


class OpenFeed(NamedTuple):
    """A stream of ticks begins."""

    now_ns: int


class CloseFeed(NamedTuple):
    """One of the open streams ends."""

    now_ns: int
    stream: int


class Batch(NamedTuple):
    """A batch arrives on one of the open streams, if there is one."""

    now_ns: int
    data: bytes
    stream: int


class Clock(NamedTuple):
    """The timer calls; None: when it is due."""

    now_ns: int | None
    max_symbols: int


class Want(NamedTuple):
    """Somebody wants the bars of a symbol, or "*", or no longer."""

    symbol: str
    number: int
    on: bool


class Present(NamedTuple):
    """Somebody asks for the open bars of all symbols."""

    number: int


Input = OpenFeed | CloseFeed | Batch | Clock | Want | Present


@cache
def _calendar() -> Calendar:
    # Days that begin 10 s after midnight, with all phases in twenty minutes.
    offsets = tuple(timedelta(seconds=s) for s in (10, 20, 60, 90, 600, 660, 1200))
    assert len(offsets) == 7
    return Calendar([], UsualHours(ZoneInfo("UTC"), frozenset(range(7)), offsets))


def make_rules(default: SessionRule) -> SessionRules:
    """Return rules that differ by symbol."""
    return SessionRules(
        default,
        [
            ("BB", CalendarDay(_calendar(), regular=True)),
            ("LONGER*", ZoneDay(ZoneInfo("America/New_York"), anchored=True)),
            ("S*", NoSession()),
        ],
    )


class Replica:
    """One aggregator.

    ::

        one, other = Replica(plan), Replica(plan)
        one.apply(inputs)
        other.load(one.dump())
        assert one.apply(later) == other.apply(later)

    Args:
        plan: the settings of bars.
        epoch: of a new aggregator; one that is loaded has another.
        default: how sessions of ``A`` are found.
        limits: the largest values of a tick.
    """

    def __init__(
        self,
        plan: BarPlan,
        epoch: int = 1,
        default: SessionRule | None = None,
        limits: ValueLimits = NO_LIMITS,
    ) -> None:
        rules = make_rules(default or UtcDay())
        self.feeds = Feeds(plan.live_within_ns / 1e9, started_ns=START - epoch)
        self.refusals = refusals = Refusals()

        def make_event_bars(symbol: str, interval: Interval) -> EventBars:
            return EventBars(
                symbol,
                interval,
                grace_ns=plan.grace_ns,
                coverage=self.feeds.coverage,
                phase=rules.rule_for(symbol).phase,
                refused=refusals.count,
            )

        self.engine = BarEngine(
            plan, rules.rule_for, self.feeds.coverage, make_event_bars, refusals
        )
        self.engine.output.listener = self.engine.output.sink = self
        self.engine.wake_at = lambda ns: self.seen.append(("wake", ns))
        self.book = Book(self.engine, max_symbols=3, epoch=epoch, limits=limits)
        self.market = Market(self.book, Producers(2), self._notify, max_future_skew_s=60)
        setup = describe_setup(plan, session="utc-day", calendars="", anchor="utc")
        self.core = CoreState(self.market, self.feeds, setup, "0.1.0")
        self.seen: list[object] = []

    def expect(self, left: Mapping[str, SenderMark]) -> None:
        """Expect the senders of a run that stopped in order."""
        self.feeds.restore(left)

    def dump(self) -> bytes:
        """Return the whole state."""
        return b"".join(dump(self.core))

    def load(self, content: bytes) -> None:
        """Go on from a state."""
        load(content, self.core)

    # Inputs.

    def apply(self, each: Input) -> list[object]:
        """Apply an input; return all that was published."""
        self.seen = []
        match each:
            case OpenFeed(now_ns):
                self.feeds.open(now_ns)
            case CloseFeed(now_ns, stream) if feeds := self.feeds.open_feeds():
                feeds[stream % len(feeds)].close(now_ns)
            case Batch(now_ns, data, stream):
                self._publish(now_ns, data, stream)
            case Clock(now_ns, max_symbols):
                at = now_ns or self.engine.next_timer() or START
                self.seen.append(self.engine.close_due(at, max_symbols))
            case Want(symbol, number, on):
                self._want(symbol, number, on)
            case Present(number):
                series = self.engine.series
                bars, still_open = series.present(list(series.of_all(number)))
                self.seen += [bars, still_open, series.partials(still_open)]
            case _:
                pass
        return self.seen

    def _publish(self, now_ns: int, data: bytes, stream: int) -> None:
        feeds = self.feeds.open_feeds()
        feed = feeds[stream % len(feeds)] if feeds else None
        try:
            ack = self.market.publish_batch(data, now_ns, feed)
        except (InvalidBatch, DecodeError) as exc:
            self.seen.append(repr(exc))
        else:
            self.seen.append(ack.SerializeToString(deterministic=True))

    def _want(self, symbol: str, number: int, on: bool) -> None:
        if symbol == "*":
            self.engine.series.want_all(number, on)
        elif (found := self._series(symbol, number)) is not None:
            self.engine.series.want(found, on)

    def _series(self, symbol: str, number: int) -> int | None:
        return self.engine.series.number(symbol, self.engine.series.intervals[number])

    # What is published.

    def _notify(self, rows: NDArray[np.int32]) -> None:
        self.seen.append((rows.tolist(), self.book.states(rows.tolist())))

    def opened(self, symbol: str, _row: int) -> Iterable[int]:
        """Want two kinds of bars of A by its name."""
        return (0, 4) if symbol == "A" else ()

    def partials_changed(self, series: NDArray[np.int64]) -> None:
        """Keep the states of open bars."""
        self.seen.append((series.tolist(), self.engine.series.partials(series)))

    def bars_published(self, bars: Sequence[Published]) -> None:
        """Keep states."""
        self.seen.append(list(bars))

    def interval_completed(self, interval: str, end: int) -> None:
        """Keep the marker."""
        self.seen.append((interval, end))

    def put(self, bars: Sequence[Bar]) -> None:
        """Keep what goes to the store."""
        self.seen.append([bar.to_message(0) for bar in bars])

    # What readers see.

    def read(self) -> list[object]:
        """Return all that can be asked for."""
        engine, series = self.engine, self.engine.series
        found: list[object] = [
            self.book.epoch,
            self.book.symbols(),
            self.market.accepted,
            self.market.duplicates,
            self.market.rejected,
            [self.market.last_sequence(name) for name in ("p", "q", "r", "p refusals")],
            engine.counts,
            engine.evicted,
            engine.next_timer(),
            engine.open_ends(),
            self.feeds.statuses(),
            self.feeds.awaits_senders,
            self.feeds.all_spans(START + 10**11),
        ]
        for symbol in SYMBOLS:
            found.append(self.book.aggregate(symbol))
            found.append(self.refusals.count(symbol, 0, 2**63))
            for interval in series.intervals:
                bars = series.open_and_recent(symbol, interval, 0, 2**63 - 1)
                found.append([bar.to_message(0) for bar in bars])
                found.append(series.sequence(symbol, interval))
        for ahead in (-100, -2, 0, 1, 30, 5_000):
            start = START + ahead * 10**9
            found.append(self.feeds.coverage(start, start + 10**9))
        return found
