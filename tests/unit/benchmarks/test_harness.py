"""What benchmarks say about the numbers they are given."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from benchmarks.harness import Latencies, Spread, format_table, write_results
from benchmarks.pipeline import Stopwatch


def test_a_spread_shows_the_middle_and_the_ends() -> None:
    spread = Spread((3.0, 1.0, 10.0))
    assert spread.to_dict() == {"median": 3.0, "min": 1.0, "max": 10.0, "values": (3.0, 1.0, 10.0)}


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (1, 1), (50, 50), (99, 99), (100, 100)])
def test_a_percentile_is_a_value_that_was_measured(percent: float, value: float) -> None:
    assert Latencies(tuple(range(100, 0, -1))).percentile(percent) == value


def test_a_histogram_has_every_value_once_and_no_hole() -> None:
    latencies = Latencies((0.0009, 0.001, 0.0011, 0.007))
    assert latencies.histogram() == {1.0: 2, 2.0: 1, 4.0: 0, 8.0: 1}


def test_a_state_shows_all_ticks_up_to_its_own_once() -> None:
    stopwatch = Stopwatch()
    for ts_ns, now in ((10, 1.0), (20, 2.0), (30, 3.0)):
        stopwatch.sent(ts_ns, now)
    stopwatch.seen(5, 4.0)
    assert stopwatch.seconds == []
    stopwatch.seen(20, 4.0)
    stopwatch.seen(20, 5.0)
    assert stopwatch.seconds == [3.0, 2.0]
    stopwatch.seen(30, 5.0)
    assert stopwatch.seconds == [3.0, 2.0, 2.0]


def test_a_table_has_its_numbers_below_each_other() -> None:
    assert format_table([["what", "n"], ["a", "1,000"]]) == "what      n\na     1,000"


def test_several_benchmarks_share_the_file_of_a_commit(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.json"
    write_results("one", {"value": 1}, path)
    write_results("two", {"value": 2}, path)
    results = orjson.loads(path.read_bytes())
    assert (results["one"], results["two"]) == ({"value": 1}, {"value": 2})
    assert results["machine"]["cores"] >= 1
