"""Rows wait for the clock in their order, whichever calls they came in."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aggregator.bars.timers import Timers


@given(st.lists(st.lists(st.integers(0, 99), max_size=5), max_size=12), st.integers(1, 7))
def test_rows_of_one_time_are_taken_together_and_in_their_order(
    calls: list[list[int]], most: int
) -> None:
    timers = Timers(lambda _time: None)
    for rows in calls:
        timers.add(np.array(rows, np.int64), np.full(len(rows), 5, np.int64))
    taken: list[list[int]] = []
    while timers.has_due(5):
        time, found = timers.take(most)
        assert time == 5
        taken.append(found.tolist())
    rows = [row for call in calls for row in call]
    assert taken == [rows[start : start + most] for start in range(0, len(rows), most)]
    assert timers.next() is None
