"""What waits of bars for a stream: the newest state of an open bar, every closed one."""

from __future__ import annotations

import pytest

from aggregator.bar_watchers import (
    BarQueue,
    BarWatchers,
    Completed,
    TooManyBarsWait,
    TooManyTopics,
    Topic,
)
from aggregator.bars.bar import Bar, BarState
from aggregator.sessions import NS_PER_DAY
from marketdata.intervals import InvalidInterval
from marketdata.timestamps import NS_PER_S
from tests.doubles.bars import Desk, Trade, read_bar

DAY = 16_000 * NS_PER_DAY
S = NS_PER_S
PARTIAL, EARLY, FINAL, REVISED = BarState.PARTIAL, BarState.EARLY, BarState.FINAL, BarState.REVISED


class Floor:
    """A desk whose bars go to streams."""

    def __init__(self, max_topics: int = 10, max_waiting: int = 100) -> None:
        self.desk = Desk("1s,1m")
        self.watchers = BarWatchers(self.desk.engine, max_topics, max_waiting)
        self.desk.engine.audience = self.watchers

    def watch(self, *topics: tuple[str, str]) -> BarQueue:
        """Return the queue of a new stream."""
        queue = BarQueue(self.watchers, lambda: None)
        self.watchers.add(queue, [Topic(*topic) for topic in topics])
        return queue


def taken(queue: BarQueue, limit: int = 100) -> list[tuple[int, BarState, int]]:
    """Return start, state and trades of what waits."""
    bars, _ = take(queue, limit)
    return [((b.start - DAY) // S, b.state, b.candle.trades) for b in bars]


def take(queue: BarQueue, limit: int = 100) -> tuple[list[Bar], list[Completed]]:
    pieces, completed = queue.take(limit)
    return list(map(read_bar, pieces)), completed


def test_an_open_bar_waits_once_with_its_newest_state() -> None:
    floor = Floor()
    queue = floor.watch(("A", "1m"))
    for n in range(5):
        floor.desk.trade(Trade(DAY + n * S))
    assert len(queue) == 1
    assert taken(queue) == [(0, PARTIAL, 5)]
    assert taken(queue) == []


def test_every_closed_state_waits_and_the_sequence_only_grows() -> None:
    floor = Floor()
    queue = floor.watch(("A", "1s"))
    floor.desk.trade(Trade(DAY))
    floor.desk.trade(Trade(DAY + S))
    floor.desk.trade(Trade(DAY + 4 * S))
    floor.desk.trade(Trade(DAY + 1))
    floor.desk.trade(Trade(DAY + 2))
    bars, completed = take(queue)
    states = [((b.start - DAY) // S, b.revision) for b in bars if b.state.is_closed]
    assert states == [(0, 0), (1, 0), (0, 1), (0, 2)]
    assert [b.sequence for b in bars] == sorted({b.sequence for b in bars})
    assert completed == [Completed("1s", DAY + S), Completed("1s", DAY + 2 * S)]


def test_a_marker_stays_behind_its_bars_however_little_is_taken_at_once() -> None:
    floor = Floor()
    queue = floor.watch(("*", "1s"))
    floor.desk.trade(*(Trade(DAY, symbol=s) for s in "ABC"))
    floor.desk.trade(*(Trade(DAY + 3 * S, symbol=s) for s in "ABC"))
    seen: list[object] = []
    while len(queue):
        bars, completed = take(queue, 1)
        seen += [bar.symbol for bar in bars if bar.state is FINAL]
        seen += completed
    assert seen == ["A", "B", "C", Completed("1s", DAY + S)]


def test_present_states_come_first_once_per_topic() -> None:
    floor = Floor()
    floor.desk.trade(Trade(DAY), Trade(DAY + S), Trade(DAY, symbol="B"))
    queue = floor.watch(("*", "1s"), ("A", "1s"))
    # Those of A came again with its own topic, so they are behind that of B.
    assert taken(queue) == [(0, PARTIAL, 1), (0, EARLY, 1), (1, PARTIAL, 1)]
    floor.desk.trade(Trade(DAY + S))
    assert taken(queue) == [(1, PARTIAL, 2)]


def test_beyond_the_limit_the_stream_is_told_and_nothing_more_waits() -> None:
    floor = Floor(max_waiting=3)
    slow, other = floor.watch(("A", "1s")), floor.watch(("A", "1m"))
    floor.desk.trade(*(Trade(DAY + n * S) for n in range(30)))
    assert len(slow) == 0
    with pytest.raises(TooManyBarsWait, match="3 bars wait"):
        slow.take(10)
    assert floor.watchers.overflows == 1
    assert taken(other) == [(0, PARTIAL, 30)]


def test_what_is_no_longer_wanted_is_not_sent() -> None:
    floor = Floor()
    queue = floor.watch(("A", "1s"), ("A", "1m"))
    floor.desk.trade(Trade(DAY), Trade(DAY + 3 * S))
    floor.watchers.remove(queue, [Topic("A", "1s"), Topic("B", "1s")])
    bars, completed = take(queue)
    assert [bar.interval for bar in bars] == ["1m"]
    assert completed == []
    floor.watchers.remove(queue, list(queue.topics))
    assert floor.watchers.watched_topics == 0
    floor.desk.trade(Trade(DAY + 90 * S), Trade(DAY, symbol="B"))
    assert len(queue) == 0


def test_topics_are_checked_before_any_is_added() -> None:
    floor = Floor(max_topics=2)
    with pytest.raises(InvalidInterval, match="'5m' is not one of 1s 1m"):
        floor.watch(("A", "1s"), ("A", "5m"))
    assert floor.watchers.watched_topics == 0
    with pytest.raises(TooManyTopics, match="at most 2"):
        floor.watch(("A", "1s"), ("B", "1s"), ("C", "1s"))
