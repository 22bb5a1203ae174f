"""The plan of what is sent when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakeclient.pacing import Load, backoff_s, group_sizes, repeat, replay_loads, walk_loads
from fakeclient.packing import Packer
from fakeclient.ticks import MAX_GROUP
from fakeclient.walk import RandomWalk
from marketdata.files.trades import Trade
from marketdata.timestamps import NS_PER_MS, NS_PER_S

START_NS = 1_381_132_800 * NS_PER_S


def trades(*times_ms: int) -> list[Trade]:
    return [("SPY", 1.0, 1, START_NS + ms * NS_PER_MS, 0, b"", 0) for ms in times_ms]


def plan(
    passes: Iterable[list[Trade]], speed: float, limit: int | None = None
) -> list[tuple[float, int]]:
    loads = replay_loads(passes, Packer(), speed, limit)
    return [(round(load.due_s, 6), load.ticks) for load in loads]


@given(st.floats(min_value=0.1, max_value=1e7), st.integers(min_value=0, max_value=50_000))
def test_groups_add_up_to_the_limit(rate: float, limit: int) -> None:
    sizes = list(group_sizes(rate, limit))
    assert sum(sizes) == limit
    assert all(1 <= size <= MAX_GROUP for size in sizes)


@pytest.mark.parametrize(
    ("rate", "size"),
    [(1, 1), (199, 1), (1_000, 5), (100_000, 500), (1e9, MAX_GROUP), (inf, MAX_GROUP)],
)
def test_groups_are_small_at_low_rates_and_bounded_at_high_ones(rate: float, size: int) -> None:
    assert list(islice(group_sizes(rate, None), 3)) == [size] * 3


@pytest.mark.parametrize("rate", [3, 1_000, 250_000])
def test_a_second_holds_exactly_the_rate(rate: int) -> None:
    walk = RandomWalk(("A",), Random(1))
    loads = walk_loads(walk, Packer(), rate, group_sizes(rate, 2 * rate))
    within = 0
    for load in loads:
        within += load.ticks if load.due_s <= 1 else 0
        last_s = load.due_s
    # The group that contains the last instant may be due a moment later.
    assert rate - within < MAX_GROUP
    assert last_s == 2.0


def test_without_a_rate_everything_is_due_at_once() -> None:
    walk = RandomWalk(("A",), Random(1))
    loads = walk_loads(walk, Packer(), inf, group_sizes(inf, 10_000))
    assert {load.due_s for load in loads} == {0.0}


def test_a_replay_keeps_the_distances_at_the_speed_asked_for() -> None:
    assert plan([trades(0, 100, 3_000)], 1) == [(0, 1), (0.1, 1), (3, 1)]
    assert plan([trades(0, 100, 3_000)], 10) == [(0, 1), (0.01, 1), (0.3, 1)]
    assert plan([trades(0, 100, 3_000)], 0.5) == [(0, 1), (0.2, 1), (6, 1)]


def test_trades_close_together_leave_together_when_the_last_is_due() -> None:
    assert plan([trades(0, 1, 2, 5, 100)], 1) == [(0.005, 4), (0.1, 1)]


def test_at_full_speed_only_the_size_bounds_a_group() -> None:
    rows = trades(*range(0, 10_000))
    assert plan([rows], inf) == [(0, MAX_GROUP), (0, MAX_GROUP), (0, 10_000 - 2 * MAX_GROUP)]


def test_a_late_trade_leaves_in_file_order() -> None:
    assert plan([trades(0, 1_000, 500, 2_000)], 1) == [(0, 1), (1, 2), (2, 1)]


@pytest.mark.parametrize("unit_ns", [NS_PER_S, NS_PER_MS, 1_000, 1])
def test_a_file_in_another_unit_is_paced_right(unit_ns: int) -> None:
    rows: list[Trade] = [
        ("SPY", 1.0, 1, (START_NS + s * NS_PER_S) // unit_ns, 0, b"", 0) for s in (0, 2)
    ]
    assert plan([rows], 1) == [(0, 1), (2, 1)]


def test_the_next_pass_begins_when_the_last_has_ended() -> None:
    assert plan([trades(0, 1_000)] * 2, 1) == [(0, 1), (1, 1), (1, 1), (2, 1)]


@pytest.mark.parametrize("speed", [1, inf])
def test_a_limit_holds_over_all_passes(speed: float) -> None:
    def passes() -> Iterator[list[Trade]]:
        yield from [trades(0, 1_000, 2_000)] * 2
        pytest.fail("began a pass that nobody asked for")

    assert sum(ticks for _, ticks in plan(passes(), speed, limit=5)) == 5
    assert sum(ticks for _, ticks in plan(passes(), speed, limit=6)) == 6


def test_rows_before_an_error_are_sent_before_it_is_raised() -> None:
    def rows() -> Iterator[Trade]:
        yield from trades(0, 1)
        raise RuntimeError("bad row")

    loads = replay_loads([rows()], Packer(), inf, None)
    assert next(loads).ticks == 2
    with pytest.raises(RuntimeError, match="bad row"):
        next(loads)


def load(due_s: float, ticks: int) -> Load:
    return Load(due_s, ticks, lambda _now_ns: [])


def test_repeated_loads_go_on_in_time_up_to_the_limit() -> None:
    loads = [load(1, 10), load(2, 10)]
    assert [(x.due_s, x.ticks) for x in repeat(loads, 30)] == [(1, 10), (2, 10), (3, 10)]
    assert [x.due_s for x in islice(repeat(loads, None), 5)] == [1, 2, 3, 4, 5]
    assert list(repeat([], None)) == []


def test_backoff_doubles_up_to_two_seconds_and_varies_by_a_half() -> None:
    assert [backoff_s(n, 1.0) for n in range(7)] == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert backoff_s(0, 0.0) == 0.05
    assert backoff_s(10_000, 0.0) == 1.0
