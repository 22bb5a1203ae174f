"""What benchmarks say about the numbers they are given."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.harness import WrongResult
from benchmarks.latencies import Latencies, Spread
from benchmarks.pacer import Sent
from benchmarks.watching import Arrivals


def test_a_spread_shows_the_middle_and_the_ends() -> None:
    spread = Spread((3.0, 1.0, 10.0))
    assert spread.to_dict() == {"median": 3.0, "min": 1.0, "max": 10.0, "values": (3.0, 1.0, 10.0)}


# The tables of the sign test: so many of either end are left out at 5 %.
@pytest.mark.parametrize(
    ("count", "left_out"), [(1, 0), (5, 0), (6, 0), (8, 0), (9, 1), (12, 2), (18, 4), (25, 7)]
)
def test_the_range_of_a_median_leaves_out_what_chance_would(count: int, left_out: int) -> None:
    values = tuple(float(n) for n in range(count, 0, -1))
    assert Spread(values).median_range() == (1 + left_out, count - left_out)


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (1, 1), (50, 50), (99, 99), (100, 100)])
def test_a_percentile_is_a_value_that_was_measured(percent: float, value: float) -> None:
    assert Latencies(tuple(range(100, 0, -1))).percentile(percent) == value


def test_a_histogram_has_every_value_once_and_no_hole() -> None:
    latencies = Latencies((0.0009, 0.001, 0.0011, 0.007))
    assert latencies.histogram() == {1.0: 2, 2.0: 1, 4.0: 0, 8.0: 1}


def sent(*times: int) -> Sent:
    """Ticks of A and B in turn."""
    return Sent(("A", "B"), np.array(times, np.int64), Latencies((0.0,)))


def test_a_state_shows_all_ticks_of_its_symbol_up_to_its_own() -> None:
    arrivals = Arrivals(("A",))
    # The states of two of the three ticks; the one between was conflated.
    arrivals.add([(b"A", b"1", b"10")], 1_000)
    arrivals.add([(b"A", b"3", b"30")], 2_000)
    found = arrivals.latencies(sent(10, 11, 20, 21, 30, 31))
    assert (found * 1e9).round().tolist() == [990, 1980, 1970]


def test_a_tick_that_no_state_has_is_an_error() -> None:
    arrivals = Arrivals(("A", "B"))
    arrivals.add([(b"A", b"1", b"10"), (b"B", b"1", b"10")], 1_000)
    with pytest.raises(WrongResult, match="last tick of B"):
        arrivals.latencies(sent(10, 11))


def test_a_client_has_what_was_sent_when_each_symbol_has_its_volume() -> None:
    arrivals = Arrivals(("A", "B"))
    arrivals.add([(b"A", b"2", b"10")], 1_000)
    assert not arrivals.has({"A": 2, "B": 1, "C": 9})
    arrivals.add([(b"B", b"1", b"10")], 1_000)
    assert arrivals.has({"A": 2, "B": 1, "C": 9})
    assert not arrivals.has({"A": 3, "B": 1, "C": 9})
