"""Ids of trades as ranges are the same as a set of them."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from aggregator.importing.ids import MAX_RANGES, Ids, Ranges, are_other_trades, split_id

numbers = st.integers(0, 60)


@given(st.lists(st.tuples(numbers, st.integers(0, 5))))
def test_ranges_are_a_set_of_numbers(added: list[tuple[int, int]]) -> None:
    ranges, known = Ranges(), set[int]()
    for first, more in added:
        new = set(range(first, first + more + 1))
        assert ranges.add(first, first + more) == known.isdisjoint(new)
        known |= new
    assert {n for first, last in ranges for n in range(first, last + 1)} == known
    # No two of them could be one.
    ends = list(ranges)
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(ends))


@given(st.lists(st.tuples(st.sampled_from(["", "a", "20250103:N:"]), numbers), max_size=50))
def test_the_text_of_ids_has_all_of_them(added: list[tuple[str, int]]) -> None:
    ids, again = Ids(), Ids()
    for found in added:
        ids.add(found)
    assert again.add_text(ids.to_text())
    assert again.to_text() == ids.to_text()
    assert all(not again.add(found) for found in added)
    assert not added or not again.add_text(ids.to_text())


def test_an_id_is_what_stands_before_its_number_and_the_number() -> None:
    assert split_id(b"1001") == ("", 1001)
    assert split_id(b"a007") == ("a00", 7)
    assert split_id(b"20250103:N:5") == ("20250103:N:", 5)
    assert split_id(b"0") == ("", 0)
    for text in (b"", b"abc", b"12=3x", b"\xff1", b"1;2"):
        assert split_id(text) is None


def test_ids_decide_only_where_they_are_known_and_alike() -> None:
    assert are_other_trades("=1-5;", "=6-9;")
    assert not are_other_trades("=1-5;", "=5-9;")
    assert not are_other_trades("=1-5;", "a=6-9;")
    assert not are_other_trades("=1-5;?;", "=6-9;")
    assert not are_other_trades("", "")


def test_ids_with_many_gaps_are_not_kept() -> None:
    ids = Ids()
    for number in range(MAX_RANGES + 1):
        ids.add(("", number * 2))
    assert ids.to_text() == "?;"
