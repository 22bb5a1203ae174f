"""An aggregator that goes on from a checkpoint does what the first one does, to the last bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.bars import event_bars, event_series, refusals, tables
from aggregator.bars.plan import BarPlan, parse_intervals
from aggregator.coverage import feeds, gaps
from aggregator.coverage.feeds import SenderMark
from aggregator.coverage.spans import Span
from aggregator.sessions.sessions import NoSession, SessionRule, UtcDay
from marketdata.timestamps import NS_PER_S
from marketdata.validation import DEFAULT_LIMITS
from marketdata.wire.market_data_pb2 import FeedReport, Refusal, Tick, TickBatch
from tests.doubles.limits import NO_LIMITS
from tests.doubles.random_ticks import START, SYMBOLS, late, odd, usual
from tests.doubles.replica import (
    Batch,
    Clock,
    CloseFeed,
    Input,
    OpenFeed,
    Present,
    Replica,
    Want,
)
from tests.doubles.session_rules import HalfHourDays

INTERVALS = "1s,1m,1h,1d,3t,5v,40n"
N = len(INTERVALS.split(","))
# So that few inputs reach every limit.
SMALL = (
    (tables, "_MIN_ROWS", 1),
    (tables, "_MIN_BARS", 32),
    (tables, "_MIN_EVENTS", 32),
    (refusals, "MAX_RANGES", 3),
    (refusals, "MAX_ALL_RANGES", 5),
    (refusals, "MAX_SYMBOLS", 2),
    (feeds, "MAX_SENDERS", 2),
    (feeds, "MAX_SPANS", 3),
    (gaps, "MAX_GAPS", 3),
    (gaps, "MAX_PRODUCERS", 2),
    (event_series, "MAX_RECENT", 2),
    (event_bars, "MAX_PENDING", 6),
)


@pytest.fixture(autouse=True, scope="module")
def _small_limits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in SMALL:
            patch.setattr(module, name, value)
        yield


def make_plan(max_closed: int = 500_000, grace_s: int = 2, revise_s: int = 900) -> BarPlan:
    return BarPlan(
        intervals=parse_intervals(INTERVALS),
        grace_ns=grace_s * NS_PER_S,
        revise_ns=revise_s * NS_PER_S,
        max_closed=max_closed,
    )


def seconds(*values: float) -> st.SearchStrategy[int]:
    return st.sampled_from(values).map(lambda s: START + int(s * NS_PER_S))


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    ticks: list[Tick] = draw(st.lists(st.one_of(usual, usual, late, late, odd), max_size=20))
    message = TickBatch(
        # Three producers, and room for two.
        producer_id=draw(st.sampled_from(["", "p", "p", "q", "r"])),
        first_sequence=draw(st.sampled_from([1, 1, 5, 15, 30, 100, 0])),
        ticks=ticks,
    )
    if draw(st.integers(0, 3)) == 0:
        message.first_refusal = draw(st.integers(1, 4))
        for symbol, ts in draw(
            st.lists(
                st.tuples(st.sampled_from([*SYMBOLS, "D"]), seconds(-2, -1, 0, 1, 2, 40)),
                max_size=3,
            )
        ):
            message.refusals.append(Refusal(symbol=symbol, exchange_timestamp=ts))
    if draw(st.integers(0, 3)) == 0:
        since = draw(st.one_of(st.just(0), seconds(-100, -1, 0)))
        report = FeedReport(producers=draw(st.integers(0, 2)), since=since, accepted=7)
        report.rejected["price_not_finite"] = 2
        report.rejected["empty_symbol"] = 1
        message.feed.CopyFrom(report)
    now_ns = draw(seconds(0, 1, 5, 30, 90, 2_000))
    return Batch(now_ns, message.SerializeToString(), draw(st.integers(0, 3)))


numbers = st.integers(0, N - 1)
inputs: st.SearchStrategy[Input] = st.one_of(
    batches(),
    batches(),
    batches(),
    st.builds(OpenFeed, seconds(-1, 0, 10)),
    st.builds(CloseFeed, seconds(0, 10, 100), st.integers(0, 3)),
    st.builds(Clock, st.one_of(st.none(), seconds(0, 5, 70, 4_000)), st.sampled_from([1, 2, 1000])),
    st.builds(Want, st.sampled_from(["*", *SYMBOLS[:2]]), numbers, st.booleans()),
    st.builds(Present, numbers),
)
opening = TickBatch(
    producer_id="p",
    first_sequence=1,
    ticks=[Tick(symbol=s, price=1, volume=1, exchange_timestamp=START) for s in SYMBOLS[:2]],
)
FIRST: list[Input] = [OpenFeed(START - 1), Batch(START, opening.SerializeToString(), 0)]
rules: st.SearchStrategy[SessionRule] = st.sampled_from([UtcDay(), NoSession(), HalfHourDays()])
plans = st.sampled_from(
    [
        make_plan(),
        make_plan(grace_s=0),
        make_plan(grace_s=60),
        make_plan(revise_s=2),
        make_plan(max_closed=2, revise_s=100_000),
    ]
)


# The stop of the run before.
LEFT = {
    "p": SenderMark(0, START - 50 * NS_PER_S, [Span(START - 90 * NS_PER_S, START - 80 * NS_PER_S)]),
    "q": SenderMark(3, START - 50 * NS_PER_S, []),
    "r": SenderMark(9, 0, []),
}
setups = st.fixed_dictionaries(
    {
        "plan": plans,
        "default": rules,
        "limits": st.sampled_from([NO_LIMITS, DEFAULT_LIMITS]),
    }
)


@given(st.lists(inputs, max_size=10), st.lists(inputs, max_size=8), setups, st.booleans())
def test_after_a_restore_every_later_input_has_the_same_effects(
    before: list[Input], after: list[Input], setup: dict[str, Any], reads: bool
) -> None:
    first, second = Replica(epoch=1, **setup), Replica(epoch=2, **setup)
    first.expect(LEFT)
    for each in [*FIRST, *before]:
        first.apply(each)
        if reads:
            first.read()
    saved = first.dump()
    assert first.dump() == saved
    second.load(saved)
    assert second.dump() == saved
    if reads:
        assert first.read() == second.read()
    for each in after:
        assert first.apply(each) == second.apply(each)
        if reads:
            assert first.read() == second.read()
    assert first.dump() == second.dump()
    assert first.read() == second.read()


@given(st.lists(inputs, max_size=12), setups)
def test_readers_change_nothing_of_the_state(script: list[Input], setup: dict[str, Any]) -> None:
    read, unread = Replica(**setup), Replica(**setup)
    for each in [*FIRST, *script]:
        read.apply(each)
        read.read()
        unread.apply(each)
    assert read.dump() == unread.dump()
