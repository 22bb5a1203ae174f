"""The book with a kernel does what the plain one does, whatever comes in whatever batches."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from aggregator.bars.bar import Bar, BarKey
from aggregator.bars.engine import BarEngine
from aggregator.bars.plan import BarPlan, parse_intervals
from aggregator.bars.published import PublishedBars
from aggregator.book import Book
from aggregator.sessions.sessions import NoSession, SessionRule, UtcDay
from marketdata.timestamps import NS_PER_S
from marketdata.wire.market_data_pb2 import Aggregate, Tick, TickBatch
from tests.doubles.bars import read_bar
from tests.doubles.limits import NO_LIMITS
from tests.doubles.plain_book import PlainBook
from tests.doubles.plain_engine import PlainEngine
from tests.doubles.random_ticks import LATEST, START, SYMBOLS, late, odd, usual
from tests.doubles.session_rules import HalfHourDays

# What somebody wants, of A alone.
WANTED = ("1s", "1m")


@dataclass
class PlainListener:
    """Keep all that the plain engine publishes."""

    seen: list[object] = field(default_factory=list)
    # States of one batch: of a bar that is not closed only the newest one matters.
    _states: list[Bar] = field(default_factory=list)

    def settle(self) -> None:
        """Know that a batch has ended."""
        for index, bar in enumerate(self._states):
            later = {other.key for other in self._states[index + 1 :]}
            if bar.state.is_closed or bar.key not in later:
                self.seen.append(shown(bar))
        self._states.clear()

    def symbols_wanted(self) -> Collection[str] | None:
        return None

    def wanted(self, symbol: str) -> Collection[str]:
        return WANTED if symbol == "A" else ()

    def partial_changed(self, key: BarKey) -> None:
        self.seen.append((key.symbol, key.interval))

    def bar_published(self, bar: Bar) -> None:
        if bar.interval in self.wanted(bar.symbol):
            self._states.append(bar.copy())

    def interval_completed(self, interval: str, end: int) -> None:
        self.seen.append((interval, end))

    def put(self, bars: Sequence[Bar]) -> None:
        self.seen.append(sorted(map(shown, bars)))


@dataclass
class Listener:
    """Keep all that the engine publishes, as it leaves."""

    engine: BarEngine
    seen: list[object] = field(default_factory=list)

    def opened(self, symbol: str, _row: int) -> Iterable[int]:
        return (0, 1) if symbol == "A" else ()

    def partials_changed(self, series: NDArray[np.int64]) -> None:
        intervals, symbols = self.engine.series.intervals, self.engine.table.symbols.symbols
        step = len(intervals)
        self.seen.extend(
            (symbols[each // step], intervals[each % step]) for each in series.tolist()
        )

    def bars_published(self, bars: PublishedBars) -> None:
        self.seen.extend(shown(read_bar(bar.wire)) for bar in bars)

    def interval_completed(self, interval: str, end: int) -> None:
        self.seen.append((interval, end))

    def put(self, bars: Sequence[Bar]) -> None:
        self.seen.append(sorted(map(shown, bars)))


def shown(bar: Bar) -> tuple[object, ...]:
    candle = bar.candle
    numbers = (candle.open, candle.high, candle.low, candle.close, candle.volume, candle.trades)
    # The money is summed up in another order.
    said = (bar.rank, bar.sequence, bar.coverage, bar.phase)
    return (*bar.key, *said, *numbers, round(candle.vwap, 9))


def state(aggregate: Aggregate | None) -> tuple[object, ...] | None:
    if aggregate is None:
        return None
    a = aggregate
    numbers = (a.open, a.high, a.low, a.close, a.volume, a.trades, a.timestamp, a.session_start)
    return (*numbers, a.sequence, round(a.vwap, 9))


def make_plan(max_closed: int = 500_000, grace_s: int = 2, revise_s: int = 900) -> BarPlan:
    return BarPlan(
        intervals=parse_intervals("1s,1m,1h,1d"),
        grace_ns=grace_s * NS_PER_S,
        revise_ns=revise_s * NS_PER_S,
        max_closed=max_closed,
    )


def make_engine(rule: SessionRule, plan: BarPlan) -> tuple[BarEngine, Listener]:
    engine = BarEngine(plan, lambda _symbol: rule)
    listener = Listener(engine)
    engine.output.listener = engine.output.sink = listener
    return engine, listener


def make_plain_engine(rule: SessionRule, plan: BarPlan) -> tuple[PlainEngine, PlainListener]:
    engine = PlainEngine(plan, lambda _symbol: rule)
    listener = PlainListener()
    engine.listener = engine.sink = listener
    return engine, listener


ticks = st.one_of(usual, usual, late, late, odd, st.just(Tick()))
arrivals = st.sampled_from([0, START, *(START + s * NS_PER_S for s in (5, 30, 90)), LATEST])


@given(
    st.lists(
        st.tuples(
            st.lists(ticks, max_size=20), arrivals, st.booleans(), st.sampled_from([0, 0, -50, 900])
        ),
        max_size=6,
    ),
    st.sampled_from([UtcDay(), NoSession(), HalfHourDays()]),
    st.sampled_from(
        [
            make_plan(),
            make_plan(grace_s=0),
            make_plan(grace_s=60),
            make_plan(revise_s=2),
            # Bars that nothing can revise any more are counted otherwise, so there are none.
            make_plan(max_closed=2, revise_s=100_000),
        ]
    ),
    st.integers(0, 3),
)
def test_every_state_and_every_bar_is_that_of_the_plain_book(
    batches: list[tuple[list[Tick], int, bool, int]], rule: SessionRule, plan: BarPlan, skip: int
) -> None:
    plain_engine, plain_listener = make_plain_engine(rule, plan)
    fast_engine, fast_listener = make_engine(rule, plan)
    plain = PlainBook(plain_engine, max_symbols=3, epoch=1, limits=NO_LIMITS)
    fast = Book(fast_engine, max_symbols=3, epoch=1, limits=NO_LIMITS)
    sequence = 100
    # The kernel knows symbols that were there before the batch.
    known = [Tick(symbol=s, price=1, volume=1, exchange_timestamp=START) for s in SYMBOLS[:2]]
    for sent, now_ns, close, jump in [(known, 0, False, 0), *batches]:
        # Another producer's ticks have other sequences.
        sequence = max(sequence + jump, 1)
        skipped = 0 if sent is known else skip
        by_plain = plain.apply(sent[skipped:], sequence + skipped, LATEST, now_ns)
        batch = fast.decoder.decode(TickBatch(ticks=sent).SerializeToString())
        by_fast = fast.apply_batch(batch, sequence, LATEST, now_ns, skip=skipped)
        sequence += len(sent)
        assert by_fast.accepted == by_plain.accepted
        assert by_fast.rejections == by_plain.rejections
        assert {fast.symbol(row) for row in by_fast.rows.tolist()} == by_plain.changed
        if close:
            assert fast_engine.next_timer() == plain_engine.next_timer()
            at = plain_engine.next_timer() or LATEST
            plain_listener.settle()
            assert fast_engine.close_due(at, 1_000) == plain_engine.close_due(at, 1_000)
        plain_listener.settle()
        for symbol in SYMBOLS:
            assert state(fast.aggregate(symbol)) == state(plain.aggregate(symbol))
    assert fast.symbols() == plain.symbols()
    assert fast_engine.counts == plain_engine.counts
    assert as_bags(fast_listener.seen) == as_bags(plain_listener.seen)
    assert sorted(map(shown, fast_engine.open_bars())) == sorted(
        map(shown, plain_engine.open_bars())
    )


@pytest.mark.parametrize("look", [False, True])
@pytest.mark.parametrize("big", [2**63 - 1 - 2**48, 2**63 - 2 - 2**48])
def test_the_kernel_refuses_what_overflows(look: bool, big: int) -> None:
    engine, _ = make_engine(UtcDay(), make_plan())
    book = Book(engine, max_symbols=3, epoch=1, limits=NO_LIMITS)
    book.apply([Tick(symbol="A", price=1, volume=big, exchange_timestamp=START)], 1, LATEST)
    part = Tick(symbol="A", price=1, volume=2**47, exchange_timestamp=START)
    rejected = []
    for sequence in (2, 4):
        applied = book.apply([part, part], sequence, LATEST)
        rejected += applied.rejections
        if look:
            # Looking moves what the kernel has to the rest.
            book.aggregate("A")
    assert [sequence for sequence, _ in rejected] == [4, 5]
    assert book.state("A").volume == big + 2**48


def test_large_volumes_in_many_bars_leave_room_for_none() -> None:
    engine, _ = make_engine(UtcDay(), make_plan())
    book = Book(engine, max_symbols=3, epoch=1, limits=NO_LIMITS)
    day = 86_400 * NS_PER_S
    # Late trades of earlier days, each as large as a bar can be.
    for sequence, earlier in enumerate((0, day, 2 * day, 3 * day), 1):
        tick = Tick(symbol="A", price=1, volume=2**63 - 1, exchange_timestamp=START - earlier)
        book.apply([tick], sequence, LATEST)
    assert book.state("A").volume == 2**63 - 1
    assert book.apply([tick], 9, LATEST).accepted == 1


def as_bags(seen: list[object]) -> list[str]:
    # Symbols come in no order.
    return sorted(map(repr, seen))
