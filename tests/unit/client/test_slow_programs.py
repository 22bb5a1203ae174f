"""What waits for a slow program, and which states of a bar are new: for any order of events."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.encoding import aggregate_to_dict, bar_to_dict
from marketdata.client import Bar, Gap, IntervalComplete, Live, Stale, Update
from marketdata.client.decode import decode_aggregate, decode_bar
from marketdata.client.live.mailbox import Mailbox
from marketdata.client.live.pending import MAX_WAITING, Pending
from marketdata.client.live.seen_bars import SeenBars, key_of, rank_of
from marketdata.wire import market_data_pb2 as wire

MINUTE = 60 * 10**9


def state(symbol: str, sequence: int, **fields: Any) -> Update[Any]:
    message = wire.Aggregate(symbol=symbol, sequence=sequence, epoch=7)
    return Update(decode_aggregate(aggregate_to_dict(message)), **fields)


def bar(start: int, sequence: int = 1, state: int = 3, revision: int = 0, **fields: Any) -> Bar:
    message = wire.Bar(
        symbol="A",
        interval="1m",
        start=start,
        end=start + MINUTE,
        state=state,  # type: ignore[arg-type]
        coverage=wire.COVERAGE_FULL,
        sequence=sequence,
        revision=revision,
        **{"epoch": 7, **fields},
    )
    return decode_bar(bar_to_dict(message))


def drain(pending: Pending) -> list[Any]:
    return list(iter(pending.pop, None))


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.booleans()), max_size=40))
def test_conflated_states_and_those_that_come_are_all_states(steps: list[tuple[str, bool]]) -> None:
    pending = Pending("conflate")
    sent: dict[str, int] = {}
    taken: dict[str, list[Update[Any]]] = {}

    def take() -> None:
        event = pending.pop()
        if isinstance(event, Update):
            taken.setdefault(event.data.symbol, []).append(event)

    for symbol, takes in steps:
        sent[symbol] = sent.get(symbol, 0) + 1
        pending.put(state(symbol, sent[symbol]))
        if takes:
            take()
    for _ in range(3):
        take()
    for symbol, count in sent.items():
        updates = taken[symbol]
        assert updates[-1].data.sequence == count
        assert sum(1 + each.conflated for each in updates) == count
    assert not pending.is_full


def test_buffered_states_all_come_and_are_bounded() -> None:
    pending = Pending("buffer")
    for sequence in range(MAX_WAITING):
        assert not pending.is_full
        pending.put(state("A", sequence))
    assert pending.is_full
    assert [each.data.sequence for each in drain(pending)] == list(range(MAX_WAITING))


def test_states_that_conflate_are_bounded_by_their_symbols_alone() -> None:
    pending = Pending("conflate")
    for number in range(MAX_WAITING + 1):
        pending.put(state(f"S{number}", 1))
        pending.put(state(f"S{number}", 2))
    assert not pending.is_full
    assert len(drain(pending)) == MAX_WAITING + 1


def test_a_closed_bar_is_never_left_out_for_a_newer_one() -> None:
    pending = Pending("conflate")
    for minute in range(3):
        for state_number in (1, 2, 3):
            pending.put(Update(bar(minute * MINUTE, state=state_number)))
    pending.put(IntervalComplete("1m", 3 * MINUTE))
    *bars, last = drain(pending)
    assert [(each.data.start_ns // MINUTE, each.data.state) for each in bars] == [
        (0, "final"),
        (1, "final"),
        (2, "final"),
    ]
    assert [each.conflated for each in bars] == [2, 2, 2]
    assert isinstance(last, IntervalComplete)


@pytest.mark.parametrize(
    ("first", "second", "joined"),
    [(None, None, None), (2, None, 2), (2, 3, 5), (-1, 3, -1), (3, -1, -1)],
)
def test_gaps_of_what_was_left_out_are_kept(
    first: int | None, second: int | None, joined: int | None
) -> None:
    def gap(size: int | None) -> Gap | None:
        # -1: not known.
        return None if size is None else Gap("A", None if size < 0 else size)

    pending = Pending("conflate")
    pending.put(state("A", 1, gap=gap(first), recovered=False))
    pending.put(state("A", 2, gap=gap(second), conflated=4))
    (update,) = drain(pending)
    assert (update.gap, update.conflated, update.recovered) == (gap(joined), 5, False)


def test_only_the_last_of_stale_and_live_waits_and_keeps_its_place() -> None:
    pending = Pending("conflate")
    pending.put(Stale("connection", "gone"))
    pending.put(state("A", 1))
    pending.put(Live())
    assert [type(each) for each in drain(pending)] == [Update, Live]


STATES = st.builds(
    bar,
    st.integers(0, 5).map(lambda minute: minute * MINUTE),
    sequence=st.integers(1, 9),
    state=st.sampled_from([1, 2, 3]),
    revision=st.integers(0, 2),
    epoch=st.integers(1, 2),
    filler=st.sampled_from([0, 1]),
)


@given(st.lists(STATES, max_size=30))
def test_a_state_is_new_if_it_is_newer_than_all_of_its_bar(states: list[Bar]) -> None:
    seen = SeenBars()
    known: dict[Any, Any] = {}
    for each in states:
        before = known.get(key_of(each))
        is_new = before is None or rank_of(each) > before
        assert seen.take(each) == is_new
        if is_new:
            known[key_of(each)] = rank_of(each)
    assert (seen.resume_ns() is None) == (not states)


def test_a_revision_of_a_bar_that_was_forgotten_comes() -> None:
    seen = SeenBars(limit=3)
    for minute in range(5):
        assert seen.take(bar(minute * MINUTE))
    assert seen.take(bar(0, state=4, revision=1))
    assert not seen.take(bar(4 * MINUTE))
    # History never begins before what is remembered.
    assert seen.resume_ns() == 2 * MINUTE


async def test_each_event_goes_to_one_of_several_that_wait_and_the_end_to_all() -> None:
    mailbox = Mailbox("buffer")
    waiting = [asyncio.create_task(mailbox.take_soon()) for _ in range(3)]
    await asyncio.sleep(0)
    mailbox.put([Live()])
    mailbox.end()
    assert sorted(map(str, await asyncio.gather(*waiting))) == ["Live()", "None", "None"]
