"""Missed trades are noticed, and a gap is closed only by what proves it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from connect.exchanges.continuity import Continuity, Filling, Gap, Seen

S = 10**9


def at(number: int, second: float | None = None) -> Seen:
    return Seen(str(number), int((number if second is None else second) * S))


def live(continuity: Continuity, *trades: Seen) -> list[Gap]:
    """Take live trades; return the gaps before them."""
    gaps = []
    for trade in trades:
        if gap := continuity.gap_before(trade):
            gaps.append(gap)
        continuity.add(trade, live=True)
    return gaps


def test_a_jump_in_the_numbers_is_a_gap() -> None:
    continuity = Continuity(consecutive=True)
    assert live(continuity, at(1), at(2), at(5), at(6)) == [Gap(at(2), at(5))]


def test_trades_that_come_again_or_late_are_no_gap() -> None:
    continuity = Continuity(consecutive=True)
    live(continuity, at(1), at(2), at(3))
    assert live(continuity, at(2), at(3), at(4)) == []
    assert not continuity.add(at(2), live=True)


def test_without_numbers_the_first_trade_after_a_cut_ends_a_gap() -> None:
    continuity = Continuity(consecutive=False)
    live(continuity, at(10), at(17))
    assert continuity.cut() == Gap(at(17), None)
    assert live(continuity, at(40), at(99)) == [Gap(at(17), at(40))]


def test_before_the_first_trade_nothing_is_missed() -> None:
    continuity = Continuity(consecutive=True)
    assert continuity.cut() is None
    assert live(continuity, at(1000)) == []


def test_a_gap_between_numbers_counts_what_is_missing() -> None:
    continuity = Continuity(consecutive=True)
    (gap,) = live(continuity, at(1), at(5))
    filling = Filling(gap, continuity, consecutive=True)
    assert filling.missing == 3
    assert [filling.add(at(number)) for number in (0, 1, 2, 4, 5, 6)] == [
        False,
        False,
        True,
        True,
        False,
        False,
    ]
    assert (filling.missing, filling.filled) == (1, 2)


def test_a_gap_up_to_the_present_ends_with_the_newest_trade() -> None:
    continuity = Continuity(consecutive=True)
    live(continuity, at(1))
    gap = continuity.cut()
    assert gap is not None
    filling = Filling(gap, continuity, consecutive=True)
    assert filling.missing is None
    filling.add(at(4))
    assert filling.missing == 2
    filling.add(at(3))
    filling.add(at(2))
    assert filling.missing == 0


def test_without_numbers_only_the_trade_before_the_gap_proves_it_closed() -> None:
    continuity = Continuity(consecutive=False)
    live(continuity, at(10, 5.5))
    gap = continuity.cut()
    assert gap is not None
    filling = Filling(gap, continuity, consecutive=False)
    # The same second, because some exchanges have no finer time.
    assert filling.add(at(12, 5))
    assert filling.missing is None
    assert not filling.add(at(10, 5))
    assert filling.missing == 0


def test_trades_without_ids_are_all_new() -> None:
    continuity = Continuity(consecutive=False)
    assert [continuity.add(Seen("", S), live=True) for _ in range(3)] == [True] * 3


def test_the_ids_that_are_remembered_are_bounded() -> None:
    continuity = Continuity(consecutive=True, remembered=3)
    live(continuity, *(at(number) for number in range(10)))
    assert [continuity.knows(str(number)) for number in (6, 7, 9)] == [False, True, True]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.data())
def test_what_the_gaps_leave_is_what_was_not_live(numbers: list[int], data: st.DataObject) -> None:
    # Live trades in rising order with holes; REST has all of them. Together: each one once.
    shown = sorted(set(numbers))
    continuity = Continuity(consecutive=True)
    sent: list[str] = []
    for number in shown:
        trade = at(number)
        gap = continuity.gap_before(trade)
        assert continuity.add(trade, live=True)
        sent.append(trade.id)
        if gap is not None:
            filling = Filling(gap, continuity, consecutive=True)
            pages = data.draw(st.permutations(range(shown[0], shown[-1] + 1)))
            sent += [str(each) for each in pages if filling.add(at(each))]
            assert filling.missing == 0
    assert sorted(sent, key=int) == [str(n) for n in range(shown[0], shown[-1] + 1)]
