"""What waits of bars for a stream: the newest state of an open bar, every closed one."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.bars.bar import Bar, BarState, always_covered
from aggregator.bars.event_bars import EventBars
from aggregator.sessions.sessions import NS_PER_DAY
from aggregator.watch.bar_queue import BarQueue, Completed, TooManyBarsWait
from aggregator.watch.bar_watchers import BarWatchers, TooManyTopics
from aggregator.watch.topics import Topic
from marketdata.intervals import Interval, InvalidInterval
from marketdata.timestamps import NS_PER_S
from tests.doubles.bars import EngineHarness, Trade, read_bars

DAY = 16_000 * NS_PER_DAY
S = NS_PER_S
PARTIAL, EARLY, FINAL, REVISED = BarState.PARTIAL, BarState.EARLY, BarState.FINAL, BarState.REVISED


class Floor:
    """A harness whose bars go to streams."""

    def __init__(self, max_topics: int = 10, max_waiting: int = 100) -> None:
        self.harness = EngineHarness("1s,1m")
        self.watchers = BarWatchers(self.harness.engine.series, max_topics, max_waiting)
        self.harness.engine.output.listener = self.watchers

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
    return read_bars(pieces), completed


def test_an_open_bar_waits_once_with_its_newest_state() -> None:
    floor = Floor()
    queue = floor.watch(("A", "1m"))
    for n in range(5):
        floor.harness.trade(Trade(DAY + n * S))
    assert len(queue) == 1
    assert taken(queue) == [(0, PARTIAL, 5)]
    assert taken(queue) == []


def test_every_closed_state_waits_and_the_sequence_only_grows() -> None:
    floor = Floor()
    queue = floor.watch(("A", "1s"))
    floor.harness.trade(Trade(DAY))
    floor.harness.trade(Trade(DAY + S))
    floor.harness.trade(Trade(DAY + 4 * S))
    floor.harness.trade(Trade(DAY + 1))
    floor.harness.trade(Trade(DAY + 2))
    bars, completed = take(queue)
    states = [((b.start - DAY) // S, b.revision) for b in bars if b.state.is_closed]
    assert states == [(0, 0), (1, 0), (0, 1), (0, 2)]
    assert [b.sequence for b in bars] == sorted({b.sequence for b in bars})
    assert completed == [Completed("1s", DAY + S), Completed("1s", DAY + 2 * S)]


def test_a_marker_stays_behind_its_bars_however_little_is_taken_at_once() -> None:
    floor = Floor()
    queue = floor.watch(("*", "1s"))
    floor.harness.trade(*(Trade(DAY, symbol=s) for s in "ABC"))
    floor.harness.trade(*(Trade(DAY + 3 * S, symbol=s) for s in "ABC"))
    seen: list[object] = []
    while len(queue):
        bars, completed = take(queue, 1)
        seen += [bar.symbol for bar in bars if bar.state is FINAL]
        seen += completed
    assert seen == ["A", "B", "C", Completed("1s", DAY + S)]


def test_present_states_come_first_and_once() -> None:
    floor = Floor()
    floor.harness.trade(Trade(DAY), Trade(DAY + S), Trade(DAY, symbol="B"))
    queue = floor.watch(("*", "1s"), ("A", "1s"))
    assert taken(queue) == [(0, EARLY, 1), (1, PARTIAL, 1), (0, PARTIAL, 1)]
    floor.harness.trade(Trade(DAY + S))
    assert taken(queue) == [(1, PARTIAL, 2)]


def test_beyond_the_limit_the_stream_is_told_and_nothing_more_waits() -> None:
    floor = Floor(max_waiting=3)
    slow, other = floor.watch(("A", "1s")), floor.watch(("A", "1m"))
    floor.harness.trade(*(Trade(DAY + n * S) for n in range(30)))
    assert len(slow) == 0
    with pytest.raises(TooManyBarsWait, match="3 bars wait"):
        slow.take(10)
    assert floor.watchers.overflows == 1
    assert taken(other) == [(0, PARTIAL, 30)]


def test_what_is_no_longer_wanted_is_not_sent() -> None:
    floor = Floor()
    queue = floor.watch(("A", "1s"), ("A", "1m"))
    floor.harness.trade(Trade(DAY), Trade(DAY + 3 * S))
    floor.watchers.remove(queue, [Topic("A", "1s"), Topic("B", "1s")])
    bars, completed = take(queue)
    assert [bar.interval for bar in bars] == ["1m"]
    assert completed == []
    floor.watchers.remove(queue, list(queue.topics))
    assert floor.watchers.watched_topics == 0
    floor.harness.trade(Trade(DAY + 90 * S), Trade(DAY, symbol="B"))
    assert len(queue) == 0


def test_topics_are_checked_before_any_is_added() -> None:
    floor = Floor(max_topics=2)
    with pytest.raises(InvalidInterval, match="'5m' is not one of 1s 1m"):
        floor.watch(("A", "1s"), ("A", "5m"))
    assert floor.watchers.watched_topics == 0
    with pytest.raises(TooManyTopics, match="at most 2"):
        floor.watch(("A", "1s"), ("B", "1s"), ("C", "1s"))


def states_of(bars: Iterable[Bar]) -> list[tuple[int, BarState, int]]:
    return [((b.start - DAY) // S, b.state, b.sequence) for b in bars]


def test_an_open_bar_that_waits_is_newer_than_what_the_wall_clock_closed_meanwhile() -> None:
    floor = Floor()
    queue = floor.watch(("A", "1s"))
    floor.harness.trade(Trade(DAY), now_ns=DAY)
    floor.harness.trade(Trade(DAY + S), now_ns=DAY + S)
    assert states_of(take(queue)[0])[-1] == (1, PARTIAL, 3)
    floor.harness.trade(Trade(DAY + S + 1), now_ns=DAY + S + 1)
    # The first bar becomes final behind the state of the second.
    floor.harness.engine.close_due(DAY + 2 * S - 1, 10)
    other = floor.watch(("A", "1s"))
    assert states_of(take(other)[0]) == [(0, EARLY, 2), (1, PARTIAL, 5)]
    floor.harness.trade(Trade(DAY + 2 * S, symbol="B"), now_ns=DAY + 2 * S)
    floor.harness.engine.close_due(DAY + 3 * S, 10)
    bars, _ = take(queue)
    assert states_of(bars) == [(1, EARLY, 6), (0, FINAL, 7)]


def test_a_closed_state_takes_the_place_of_the_early_one_of_its_bar() -> None:
    floor = Floor()
    queue = floor.watch(("A", "1s"))
    floor.harness.trade(Trade(DAY), Trade(DAY + S))
    floor.harness.trade(Trade(DAY + 3 * S))
    assert [state[:2] for state in states_of(take(queue)[0])] == [
        (1, EARLY),
        (0, FINAL),
        (3, PARTIAL),
    ]


def test_bars_of_a_symbol_that_does_not_exist_are_waited_for() -> None:
    floor = Floor()
    first, second = floor.watch(("NEW", "1s"), ("NEW", "1m")), floor.watch(("NEW", "1s"))
    assert floor.watchers.watched_topics == 2
    floor.watchers.remove(second, [Topic("NEW", "1s")])
    floor.watchers.remove(first, [Topic("NEW", "1m")])
    assert floor.watchers.watched_topics == 1
    floor.harness.trade(Trade(DAY, symbol="NEW"))
    assert [bar.interval for bar in take(first)[0]] == ["1s"]
    assert taken(second) == []
    assert floor.watchers.watched_topics == 1
    floor.watchers.close(first)
    assert floor.watchers.watched_topics == 0


def test_the_engine_is_told_once_that_bars_are_wanted_and_once_that_they_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    floor = Floor()
    floor.harness.trade(Trade(DAY))
    series, told = floor.harness.engine.series, list[tuple[int | str, bool]]()
    monkeypatch.setattr(series, "want", lambda number, on: told.append((number, on)))
    monkeypatch.setattr(series, "want_all", lambda number, on: told.append((f"all {number}", on)))
    queues = [floor.watch(("A", "1m"), ("*", "1s")) for _ in range(3)]
    assert told == [(1, True), ("all 0", True)]
    told.clear()
    for queue in queues:
        floor.watchers.close(queue)
    assert sorted(told, key=str) == [("all 0", False), (1, False)]


def event_bars(symbol: str, interval: Interval) -> EventBars:
    return EventBars(symbol, interval, grace_ns=S, coverage=always_covered, phase=lambda _: "")


def sequences_of(bars: Iterable[Bar]) -> Iterable[list[int]]:
    """Return those of each series."""
    found: dict[tuple[str, str], list[int]] = {}
    for bar in bars:
        sequences = found.setdefault((bar.symbol, bar.interval), [])
        # With a second topic the present states come again.
        if bar.state is not EARLY or bar.sequence not in sequences:
            sequences.append(bar.sequence)
    return found.values()


TOPICS = [Topic(symbol, interval) for symbol in ("A", "B", "*") for interval in ("1s", "1m", "2t")]
moves = st.lists(
    st.one_of(
        st.lists(st.tuples(st.sampled_from("AB"), st.integers(-80, 2)), min_size=1, max_size=4),
        st.integers(1, 30),  # tenths of a second pass
        st.tuples(st.sampled_from(["add", "remove"]), st.sampled_from(TOPICS)),
        st.tuples(st.just("take"), st.integers(1, 4)),
    ),
    max_size=30,
)


@given(st.sets(st.sampled_from(TOPICS), min_size=1), moves)
def test_however_slow_a_stream_is_sequences_grow_and_no_closed_state_is_missing(
    topics: set[Topic], steps: list[object]
) -> None:
    harness = EngineHarness("1s,1m,2t", event_bars=event_bars)
    watchers = BarWatchers(harness.engine.series, 20, 1_000)
    harness.engine.output.listener = watchers
    prompt, slow, fickle = (BarQueue(watchers, lambda: None) for _ in range(3))
    watchers.add(prompt, sorted(topics))
    watchers.add(slow, sorted(topics))
    seen: dict[BarQueue, list[Bar]] = {prompt: [], slow: [], fickle: []}

    def read(queue: BarQueue, limit: int = 1_000) -> None:
        seen[queue] += take(queue, limit)[0]

    now = DAY
    for step in steps:
        match step:
            case int():
                now += step * S // 10
                harness.close_due(now)
            case list():
                trades = [Trade(max(now + t * S // 10, DAY - S), symbol=s) for s, t in step]
                harness.trade(*trades, now_ns=now)
            case ("add", Topic() as topic):
                watchers.add(fickle, [topic])
            case ("remove", Topic() as topic):
                watchers.remove(fickle, [topic])
            case ("take", int() as limit):
                read(slow, limit)
                read(fickle, limit)
        read(prompt)
    for queue in (slow, fickle):
        read(queue)
    for bars in seen.values():
        assert all(each == sorted(set(each)) for each in sequences_of(bars))
    closed = [
        [(bar.key, bar.revision, bar.sequence) for bar in seen[queue] if bar.state.is_closed]
        for queue in (prompt, slow)
    ]
    assert sorted(closed[0]) == sorted(closed[1])
    newest = {bar.key: bar for bar in seen[slow]}
    for bar in harness.engine.series.open_and_recent("A", "1s", 0, 2**62):
        if {Topic("A", "1s"), Topic("*", "1s")} & topics:
            got = newest[bar.key]
            assert (got.state, got.candle.trades) == (bar.state, bar.candle.trades)
    for queue in seen:
        watchers.close(queue)
    assert watchers.watched_topics == 0


def test_an_early_state_that_comes_again_with_a_second_topic_keeps_its_place() -> None:
    harness = EngineHarness("1s")
    watchers = BarWatchers(harness.engine.series, 20, 1_000)
    harness.engine.output.listener = watchers
    queue = BarQueue(watchers, lambda: None)
    harness.trade(Trade(DAY))
    harness.close_due(DAY + 2 * S)
    watchers.add(queue, [Topic("A", "1s")])
    harness.trade(Trade(DAY + 2 * S), Trade(DAY - S // 10))
    watchers.add(queue, [Topic("*", "1s")])
    sequences = [bar.sequence for bar in take(queue, 1_000)[0]]
    assert sequences == sorted(sequences)


def test_present_states_come_in_the_order_of_their_publication() -> None:
    floor = Floor()
    floor.harness.trade(Trade(DAY + 2 * S), Trade(DAY + S))
    floor.harness.trade(Trade(DAY))
    bars, _ = take(floor.watch(("A", "1s")))
    assert [state[:2] for state in states_of(bars)] == [(1, EARLY), (0, EARLY), (2, PARTIAL)]
    assert [bar.sequence for bar in bars] == sorted(bar.sequence for bar in bars)
