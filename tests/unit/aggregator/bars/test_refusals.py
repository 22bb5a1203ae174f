"""Refused ticks are remembered within bounds, and never too few for a bar."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.bars import refusals as module
from aggregator.bars.refusals import Range, Refusals

times = st.lists(st.integers(1, 200), max_size=60)


@given(times, st.integers(0, 200), st.integers(1, 50))
def test_each_time_counts_its_own(made: list[int], start: int, size: int) -> None:
    refusals = Refusals()
    for ts in made:
        refusals.add("A", ts)
    assert refusals.count("A", start, start + size) == sum(start <= t < start + size for t in made)
    assert refusals.count("B", start, start + size) == 0


@given(times, st.integers(0, 200), st.integers(1, 50))
def test_beyond_the_limit_a_bar_has_more_refusals_and_never_fewer(
    made: list[int], start: int, size: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_RANGES", 4)
        refusals = Refusals()
        for ts in made:
            refusals.add("A", ts)
    mine = sum(start <= t < start + size for t in made)
    assert refusals.count("A", start, start + size) >= mine
    (ranges,) = refusals.take_changes().values() or ([],)
    assert len(ranges) <= 5
    assert sum(each.ticks for each in ranges) == len(made)


def test_too_many_symbols_count_for_every_symbol(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SYMBOLS", 2)
    refusals = Refusals()
    for symbol in ("A", "B", "C"):
        refusals.add(symbol, 10)
    assert refusals.has_every_symbol
    assert [refusals.count(s, 10, 11) for s in ("A", "B", "C", "D")] == [2, 2, 1, 1]
    assert refusals.count("D", 11, 12) == 0


def test_what_changed_is_given_once_and_taken_over() -> None:
    refusals = Refusals()
    refusals.add("A", 10)
    refusals.add("A", 10)
    refusals.add("A", 12)
    changed = refusals.take_changes()
    assert changed == {"A": [Range(10, 10, 2), Range(12, 12, 1)]}
    assert refusals.take_changes() == {}
    again = Refusals()
    again.restore(changed)
    assert (again.count("A", 0, 100), again.take_changes()) == (3, {})
