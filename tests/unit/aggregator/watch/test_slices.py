"""How many symbols are closed at once follows what they cost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aggregator.watch.slices import FIRST_PART, MAX_SYMBOLS, MIN_SYMBOLS, SLICE_S, Slices

costs = st.floats(1e-8, 1e-4)


@given(costs)
def test_slices_of_one_cost_come_to_the_time_that_they_should_take(cost_s: float) -> None:
    slices = Slices()
    for _ in range(20):
        slices.took(slices.symbols * cost_s, is_full=True)
    fitting = min(max(int(SLICE_S / cost_s), MIN_SYMBOLS), MAX_SYMBOLS)
    assert abs(slices.symbols - fitting) <= 1


@given(costs, st.floats(1, FIRST_PART))
def test_the_first_slice_fits_although_more_bars_end_than_before(
    cost_s: float, more: float
) -> None:
    slices = Slices()
    for _ in range(20):
        slices.took(slices.symbols * cost_s, is_full=True)
    slices.begin()
    assert slices.symbols == MIN_SYMBOLS or slices.symbols * cost_s * more <= SLICE_S * 1.01


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans())))
def test_no_measurement_makes_a_slice_much_larger_than_the_last_one(
    measured: list[tuple[float, bool]],
) -> None:
    slices = Slices()
    for seconds, is_full in measured:
        before = slices.symbols
        slices.took(seconds, is_full=is_full)
        assert MIN_SYMBOLS <= slices.symbols <= MAX_SYMBOLS
        assert slices.symbols <= before * (2 if is_full else 1)


def test_a_slice_has_no_more_symbols_than_the_store_has_room_for() -> None:
    slices = Slices(most=100)
    assert slices.symbols == 100
    for _ in range(20):
        slices.took(1e-6, is_full=True)
        assert slices.symbols <= 100
    slices.begin()
    assert 1 <= slices.symbols <= 100
