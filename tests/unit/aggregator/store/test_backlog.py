"""The backlog is bounded, holds the newest state of each bar, and shows all of it to readers."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from aggregator.bars.bar import Bar, BarState
from aggregator.store.backlog import FEW_BARS, Backlog
from tests.doubles.made_bars import make_bar

# More than are told apart at once.
OTHERS = [make_bar(n, "MSFT") for n in range(FEW_BARS + 1)]


def take(backlog: Backlog, limit: int) -> list[Bar]:
    return [bar for part in backlog.take(limit) for bar in part]


def starts(backlog: Backlog) -> list[int]:
    return [bar.start // 10**9 for bar in take(backlog, 100)]


def test_a_newer_state_takes_the_place_of_the_one_that_waits() -> None:
    backlog = Backlog(10)
    backlog.put([make_bar(1), make_bar(2)])
    backlog.put([make_bar(1, state=BarState.REVISED, revision=1)])
    backlog.put([make_bar(1)])
    assert len(backlog) == 2
    first, second = take(backlog, 10)
    assert (first.start, first.revision) == (10**9, 1)
    assert second.start == 2 * 10**9


def test_beyond_the_bound_the_oldest_is_given_up_and_counted() -> None:
    backlog = Backlog(3)
    lost = backlog.put([make_bar(n) for n in range(5)] + [make_bar(0, interval="1m")])
    assert [bar.start // 10**9 for bar in lost] == [0, 1, 2]
    assert backlog.lost == {"1s": 3}
    assert len(backlog) == 3
    assert starts(backlog) == [3, 4, 0]


def test_what_could_not_be_written_waits_before_all_others() -> None:
    backlog = Backlog(10)
    backlog.put([make_bar(n) for n in range(4)])
    assert len(take(backlog, 2)) == 2
    backlog.put([make_bar(9), make_bar(1, state=BarState.REVISED, revision=1)])
    assert len(backlog) == 6
    backlog.give_back()
    again = take(backlog, 10)
    assert [(bar.start // 10**9, bar.revision) for bar in again] == [
        (0, 0), (1, 1), (2, 0), (3, 0), (9, 0),
    ]  # fmt: skip
    assert backlog.settle() == 5
    assert len(backlog) == 0
    assert backlog.find("AAPL", "1s") == {}


def test_a_state_that_came_while_the_former_was_written_still_waits() -> None:
    backlog = Backlog(10)
    backlog.put([make_bar(1)])
    take(backlog, 10)
    backlog.put([make_bar(1, state=BarState.REVISED, revision=1)])
    backlog.settle()
    assert [bar.revision for bar in backlog.find("AAPL", "1s").values()] == [1]
    assert [bar.revision for bar in take(backlog, 10)] == [1]


def test_a_reader_sees_what_is_written_and_what_comes_while_it_reads() -> None:
    backlog = Backlog(10)
    backlog.put([make_bar(1)])
    with backlog.reading("AAPL", "1s") as seen, backlog.reading("AAPL", "1s") as other:
        backlog.put([make_bar(2), make_bar(3, "MSFT"), make_bar(3, interval="1m")])
        take(backlog, 10)
        backlog.settle()
        assert [start for start, _ in seen] == [start for start, _ in other] == [10**9, 2 * 10**9]
    assert backlog.find("AAPL", "1s") == {}


steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 6), st.integers(0, 3)),
        st.tuples(st.sampled_from(["take", "settle", "give_back"]), st.just(0), st.just(0)),
    ),
    max_size=40,
)


@given(steps)
def test_every_bar_is_written_in_its_newest_state_or_counted_as_lost(
    todo: list[tuple[str, int, int]],
) -> None:
    backlog = Backlog(4)
    newest: dict[int, int] = {}
    written: dict[int, int] = {}
    lost: dict[int, int] = {}
    in_flight: dict[int, int] = {}
    for verb, start, revision in todo:
        if verb == "put":
            known = newest.get(start, -1)
            newest[start] = max(known, revision)
            for bar in backlog.put([make_bar(start, revision=max(known, revision))]):
                # An older state that was in flight may be lost after the newest one.
                key = bar.start // 10**9
                lost[key] = max(lost.get(key, -1), bar.revision)
        elif verb == "take" and not in_flight:
            in_flight = {bar.start // 10**9: bar.revision for bar in take(backlog, 2)}
        elif verb == "settle":
            written |= in_flight
            assert backlog.settle() == len(in_flight)
            in_flight = {}
        elif verb == "give_back":
            backlog.give_back()
            in_flight = {}
        assert len(backlog) <= 4
    backlog.give_back()
    written |= {bar.start // 10**9: bar.revision for bar in take(backlog, 100)}
    for start, revision in newest.items():
        assert revision in (written.get(start), lost.get(start))


@given(
    st.lists(
        st.tuples(
            st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=8),
            st.sampled_from(["tell", "take", "settle", "give_back", "read"]),
            st.integers(1, 9),
        ),
        max_size=8,
    )
)
def test_bars_are_told_apart_at_any_time(
    steps: list[tuple[list[tuple[int, int]], str, int]],
) -> None:
    backlog = Backlog(1_000)
    newest: dict[int, int] = {}
    written: dict[int, int] = {}
    taken: list[Bar] = []
    for puts, verb, count in steps:
        bars = []
        for start, revision in puts:
            newest[start] = max(newest.get(start, -1), revision)
            bars.append(make_bar(start, revision=newest[start]))
        backlog.put([*bars, *OTHERS])
        if verb == "tell":
            assert backlog.tell_apart(count) == []
        elif verb == "take" and not taken:
            taken = take(backlog, 10 * count)
        elif verb == "settle":
            written |= {b.start // 10**9: b.revision for b in taken if b.symbol == "AAPL"}
            assert backlog.settle() == len(taken)
            taken = []
        elif verb == "give_back":
            backlog.give_back()
            taken = []
        found = {
            start // 10**9: bar.revision for (start, _), bar in backlog.find("AAPL", "1s").items()
        }
        assert written | found == newest
        ends = {bar.end for bar in backlog.find("MSFT", "1s").values()}
        assert backlog.ends >= ends | {(start + 1) * 10**9 for start in found}
        assert backlog.settled <= backlog.count
    backlog.give_back()
    written |= {b.start // 10**9: b.revision for b in take(backlog, 10_000) if b.symbol == "AAPL"}
    assert written == newest
    backlog.settle()
    assert (len(backlog), backlog.settled, backlog.ends) == (0, backlog.count, set())


def test_a_full_backlog_gives_up_the_oldest_in_as_few_steps_as_an_empty_one_takes_a_bar() -> None:
    count = 2_000
    older, bars = ([make_bar(n) for n in range(first, first + count)] for first in (0, count))

    def calls(backlog: Backlog) -> int:
        events = []
        sys.setprofile(lambda _frame, event, _arg: events.append(event))
        try:
            backlog.put(bars)
            backlog.tell_apart(count)
        finally:
            sys.setprofile(None)
        return len(events)

    full = Backlog(count)
    full.put(older)
    assert calls(full) < 3 * calls(Backlog(count))
    assert full.lost.total() == count
