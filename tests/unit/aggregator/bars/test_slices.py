"""The clock closes bars in slices of any size: the same bars, and nothing that nobody takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aggregator.bars import closed_bars, published
from aggregator.bars.bar import Bar, BarState
from aggregator.bars.closed_bars import ClosedBars
from aggregator.bars.published import Published, PublishedBars
from aggregator.sessions.sessions import NS_PER_DAY
from aggregator.store.rows import to_row, to_rows
from aggregator.watch.bar_queue import BarQueue
from aggregator.watch.bar_watchers import BarWatchers
from aggregator.watch.topics import Topic
from marketdata.timestamps import NS_PER_S
from tests.doubles.bars import EngineHarness, Trade, read_bars

DAY = 16_000 * NS_PER_DAY
S = NS_PER_S
SYMBOLS = [f"S{number}" for number in range(12)]


class Store:
    """Keeps closed bars as they come."""

    def __init__(self) -> None:
        self.parts: list[Sequence[Bar]] = []

    def put(self, bars: Sequence[Bar]) -> None:
        self.parts.append(bars)


class Floor:
    """An engine with a store and streams of bars."""

    def __init__(self) -> None:
        self.engine_side = EngineHarness("1s,2s")
        output = self.engine_side.engine.output
        self.watchers = output.listener = BarWatchers(self.engine_side.engine.series, 10, 10_000)
        self.store = output.sink = Store()

    def watch(self, *topics: tuple[str, str]) -> BarQueue:
        queue = BarQueue(self.watchers, lambda: None)
        self.watchers.add(queue, [Topic(*topic) for topic in topics])
        return queue

    def second(self, second: int, symbols: Sequence[int]) -> None:
        """Let some symbols trade in the middle of a second."""
        now_ns = DAY + second * S + S // 2
        trades = [Trade(now_ns - n, symbol=SYMBOLS[n]) for n in symbols]
        self.engine_side.trade(*trades, now_ns=now_ns)

    def close(self, now_ns: int, sizes: Sequence[int]) -> None:
        """Let the clock close bars in slices of these sizes."""
        turn = 0
        while not self.engine_side.engine.close_due(now_ns, sizes[turn % len(sizes)]):
            turn += 1


def stories_of(queue: BarQueue) -> dict[tuple[str, str], list[object]]:
    """Return what waits, in its order: by symbol and interval the bars, by interval the markers."""
    stories: dict[tuple[str, str], list[object]] = {}
    while len(queue):
        wires, completed = queue.take(1)
        for wire, bar in zip(wires, read_bars(wires), strict=True):
            stories.setdefault((bar.symbol, bar.interval), []).append(wire)
        for marker in completed:
            stories.setdefault(("", marker.interval), []).append(marker.end)
    return stories


seconds = st.lists(st.lists(st.integers(0, len(SYMBOLS) - 1), max_size=20), min_size=1, max_size=6)
sizes = st.lists(st.integers(1, 15), min_size=1, max_size=4)


@settings(deadline=None)
@given(seconds, sizes)
def test_slices_of_any_size_make_the_same_bars_in_the_same_order(
    traded: list[list[int]], slices: list[int]
) -> None:
    floors = [Floor(), Floor()]
    queues = [floor.watch(("*", "1s"), ("*", "2s"), ("S3", "1s")) for floor in floors]
    for floor, chosen in zip(floors, [slices, [1_000]], strict=True):
        for second, symbols in enumerate(traded):
            floor.second(second, symbols)
            floor.close(DAY + (second + 1) * S, chosen)
        floor.close(DAY + 20 * S, chosen)
    rows = [[row for part in floor.store.parts for row in to_rows(part)] for floor in floors]
    assert rows[0] == rows[1]
    stories = [stories_of(queue) for queue in queues]
    assert stories[0] == stories[1]


@settings(deadline=None)
@given(seconds, sizes)
def test_a_reader_gets_every_final_bar_once_and_then_the_marker(
    traded: list[list[int]], slices: list[int]
) -> None:
    floor = Floor()
    queue = floor.watch(("*", "1s"))
    one = floor.watch(("S3", "1s"))
    found: list[tuple[str, int]] = []
    of_one: list[int] = []
    done: list[int] = []
    for second in range(len(traded) + 4):
        floor.second(second, traded[second] if second < len(traded) else [])
        floor.close(DAY + (second + 1) * S, slices)
        while len(queue):
            wires, completed = queue.take(5)
            for bar in read_bars(wires):
                if bar.state is BarState.FINAL:
                    assert not done or bar.end > done[-1]
                    found.append((bar.symbol, (bar.start - DAY) // S))
            done += [marker.end for marker in completed]
        while len(one):
            bars = read_bars(one.take(5)[0])
            of_one += [(bar.start - DAY) // S for bar in bars if bar.state is BarState.FINAL]
    expected = {(SYMBOLS[n], second) for second, each in enumerate(traded) for n in each}
    assert sorted(found) == sorted(expected)
    assert of_one == sorted(second for symbol, second in expected if symbol == "S3")
    assert done == sorted({DAY + (second + 1) * S for _, second in expected})


def test_nothing_is_made_of_a_bar_that_nobody_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    put_bars = BarQueue.put_bars

    def count_states(
        queue: BarQueue, bars: PublishedBars, indexes: NDArray[np.int64], position: int
    ) -> None:
        made.extend(indexes.tolist())
        put_bars(queue, bars, indexes, position)

    def count_published(*values: object) -> Published:
        made.append(values)
        return Published(*values)  # type: ignore[arg-type]

    def count_bar(*values: object) -> Bar:
        made.append(values)
        return Bar(*values)  # type: ignore[arg-type]

    monkeypatch.setattr(BarQueue, "put_bars", count_states)
    monkeypatch.setattr(published, "Published", count_published)
    monkeypatch.setattr(closed_bars, "Bar", count_bar)
    floor = Floor()
    for second in range(5):
        floor.second(second, range(len(SYMBOLS)))
        floor.close(DAY + (second + 1) * S, [5])
    # The store has them as columns.
    assert sum(map(len, floor.store.parts)) == (3 + 1) * len(SYMBOLS)
    assert made == []
    floor.watch(("S3", "1s"))
    made.clear()
    floor.close(DAY + 20 * S, [5])
    # Of the other symbols still nothing is made.
    assert len(made) == 2


def test_the_store_gets_the_rows_of_bars_without_a_bar_of_each() -> None:
    floor = Floor()
    for second in range(4):
        floor.second(second, [1, 2, 3, 2])
    floor.engine_side.trade(Trade(DAY, price=3.25, symbol="S2"))
    rows = 0
    for part in floor.store.parts:
        assert isinstance(part, ClosedBars)
        assert to_rows(part) == list(map(to_row, part))
        rows += len(part)
    assert rows > 0
