"""What one client watches is divided among the workers, and their markers become one."""

from __future__ import annotations

import pytest

from aggregator.bar_watchers import TooManyTopics, TooManyWatched
from aggregator.bars.plan import BarPlan, parse_intervals
from aggregator.shards.owners import owner_of
from aggregator.shards.watching import Watched
from marketdata.errors import InvalidSymbol
from marketdata.intervals import InvalidInterval
from marketdata.wire.market_data_pb2 import BarTopic, IntervalComplete, WatchRequest

PLAN = BarPlan(intervals=parse_intervals("1s,1m"))
# One of each worker.
A, B, C = (
    next(s for s in (f"S{n}" for n in range(99)) if owner_of(s, 3) == worker) for worker in range(3)
)


def watched(max_symbols: int = 10, max_topics: int = 10) -> Watched:
    return Watched(3, PLAN, max_symbols=max_symbols, max_topics=max_topics)


def topic(symbol: str, interval: str = "1s") -> BarTopic:
    return BarTopic(symbol=symbol, interval=interval)


def marker(end: int, interval: str = "1s") -> IntervalComplete:
    return IntervalComplete(interval=interval, end=end, epoch=7)


def test_each_worker_is_asked_for_its_own_symbols_in_normal_form() -> None:
    request = WatchRequest(
        add=[A.lower(), B], remove=[C], add_bars=[topic(B)], remove_bars=[topic(A, "1m")]
    )
    assert watched().split(request) == [
        WatchRequest(add=[A], remove_bars=[topic(A, "1m")]),
        WatchRequest(add=[B], add_bars=[topic(B)]),
        WatchRequest(remove=[C]),
    ]


def test_a_worker_with_nothing_to_do_is_not_asked() -> None:
    assert watched().split(WatchRequest(add=[B])) == [None, WatchRequest(add=[B]), None]


def test_what_is_of_all_symbols_goes_to_all() -> None:
    request = WatchRequest(all=False, buffer=5, add_bars=[topic("*")])
    assert watched().split(request) == [request] * 3


def test_limits_are_those_of_the_whole() -> None:
    full = watched(max_symbols=2, max_topics=2)
    full.split(WatchRequest(add=[A, B], add_bars=[topic(A), topic(B)]))
    full.split(WatchRequest(add=[A, B], add_bars=[topic(A), topic(B)]))
    with pytest.raises(TooManyWatched):
        full.split(WatchRequest(add=[C]))
    with pytest.raises(TooManyTopics):
        full.split(WatchRequest(add_bars=[topic(C)]))
    full.split(WatchRequest(remove=[A], remove_bars=[topic(B)]))
    full.split(WatchRequest(add=[C], add_bars=[topic(C)]))


def test_bad_requests_are_refused_before_anyone_is_asked() -> None:
    with pytest.raises(InvalidSymbol):
        watched().split(WatchRequest(add=["no symbol"]))
    with pytest.raises(InvalidSymbol):
        watched().split(WatchRequest(add_bars=[topic("no symbol")]))
    with pytest.raises(InvalidInterval):
        watched().split(WatchRequest(add_bars=[topic(A, "7s")]))


def test_a_marker_goes_out_once_when_it_has_come_from_all() -> None:
    stream = watched()
    stream.split(WatchRequest(add_bars=[topic(A)]))
    assert stream.passed(0, [marker(1), marker(2)]) == []
    assert stream.passed(2, [marker(1)]) == []
    assert stream.passed(1, [marker(1), marker(2)]) == [marker(1)]
    assert stream.passed(2, [marker(2)]) == [marker(2)]


def test_a_marker_from_before_the_stream_began_at_some_worker_is_dropped() -> None:
    stream = watched()
    stream.split(WatchRequest(add_bars=[topic("*")]))
    stream.passed(0, [marker(1), marker(2)])
    stream.passed(1, [marker(2)])
    assert stream.passed(2, [marker(1), marker(2)]) == [marker(2)]
    assert stream.passed(1, [marker(3)]) == []


def test_markers_of_bars_that_nobody_wants_do_not_go_out() -> None:
    stream = watched()
    stream.split(WatchRequest(add_bars=[topic(A, "1m"), topic(B, "1m")]))
    stream.split(WatchRequest(remove_bars=[topic(A, "1m")]))
    for worker in range(2):
        stream.passed(worker, [marker(1), marker(60, "1m")])
    assert stream.passed(2, [marker(1), marker(60, "1m")]) == [marker(60, "1m")]
    stream.split(WatchRequest(remove_bars=[topic(B, "1m")]))
    for worker in range(2):
        stream.passed(worker, [marker(120, "1m")])
    assert stream.passed(2, [marker(120, "1m")]) == []
