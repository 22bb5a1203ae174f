"""The compiled queue of bars does what a dict in plain Python does."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.bars.published import Published, PublishedBars
from aggregator.watch.bar_queue import BarQueue, Completed
from aggregator.watch.topics import Topic
from marketdata.warm import load_kernels

load_kernels()

N_SERIES = 12


class Registry:
    """A registry without an engine: an open bar has its series as its state."""

    max_waiting = 10_000
    overflows = 0

    def __init__(self) -> None:
        self.unwanted: set[int] = set()
        self.queue: BarQueue | None = None

    @property
    def bars(self) -> Registry:
        return self

    def partials(self, series: Sequence[int]) -> list[bytes]:
        return [b"open %d;" % each for each in np.array(series).tolist()]

    def of(self, series: int) -> Collection[BarQueue]:
        return [] if series in self.unwanted or self.queue is None else [self.queue]


class PlainQueue:
    """What waits, by the bar that it is of; an open bar has no start."""

    def __init__(self) -> None:
        self.waiting: dict[object, bytes] = {}
        self.overtaken: set[int] = set()
        self.count = 0

    def put_bars(self, bars: Sequence[Published]) -> None:
        for series, start, _, revision, wire in bars:
            self.waiting.pop(("early", series, start), None)
            self.count += 1
            key = ("early", series, start) if revision < 0 else ("closed", series, self.count)
            self.waiting[key] = wire
            if ("open", series) in self.waiting:
                self.overtaken.add(series)

    def put_open(self, series: Sequence[int], *, only_overtaken: bool = False) -> None:
        for each in series:
            if each in self.overtaken:
                self.overtaken.discard(each)
                del self.waiting["open", each]
            elif only_overtaken:
                continue
            self.waiting.setdefault(("open", each), b"open %d;" % each)

    def put_marker(self, end: int) -> None:
        self.waiting["marker", end] = b""

    def take(self, limit: int) -> tuple[bytes, list[int]]:
        keys = list(self.waiting)[:limit]
        states = b"".join([self.waiting.pop(key) for key in keys])
        self.overtaken &= {key[1] for key in self.waiting if key[0] == "open"}  # type: ignore[index]
        return states, [key[1] for key in keys if key[0] == "marker"]  # type: ignore[index]

    def drop(self, unwanted: set[int]) -> None:
        for key in list(self.waiting):
            if key[0] != "marker" and key[1] in unwanted:  # type: ignore[index]
                del self.waiting[key]
        self.overtaken -= unwanted


numbers = st.integers(0, N_SERIES - 1)
states = st.tuples(numbers, st.integers(0, 3), st.just(0), st.integers(-1, 1))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("bars"), st.lists(states, max_size=60), st.integers(0, 5)),
        st.tuples(st.just("open"), st.lists(numbers, max_size=8), st.booleans()),
        st.tuples(st.just("marker"), st.just(0), st.just(0)),
        st.tuples(st.just("take"), st.integers(1, 90), st.just(0)),
        st.tuples(st.just("drop"), st.sets(numbers, max_size=3), st.just(0)),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(steps)
def test_what_waits_is_what_waits_in_a_dict(moves: list[tuple[str, object, int]]) -> None:
    registry, plain = Registry(), PlainQueue()
    queue = registry.queue = BarQueue(registry, lambda: None)  # type: ignore[arg-type]
    queue.topics = {Topic("*", "1s")}
    ends = made = 0
    for move, what, number in moves:
        match move, what:
            case "bars", list():
                # The states have any length, and a stream may want some of them only.
                bars = []
                for each, start, place, revision in what:
                    made += 1
                    wire = b"%d;" % made * (made % 40 + 1)
                    bars.append(Published(each, start, place, revision, wire))
                indexes = list(range(number, len(bars)))
                queue.put_bars(PublishedBars.of(bars), np.array(indexes, np.int64))
                plain.put_bars(bars[number:])
            case "open", list():
                series = np.array(what, np.int64)
                if number:
                    queue.put_overtaken(series, 0)
                else:
                    queue.put_partials(series)
                plain.put_open(what, only_overtaken=bool(number))
            case "marker", _:
                ends += 1
                queue.put_completed(Completed("1s", ends))
                plain.put_marker(ends)
            case "take", int():
                pieces, completed = queue.take(what)
                found = b"".join(pieces), [each.end for each in completed]
                assert found == plain.take(what)
            case "drop", set():
                registry.unwanted = what
                queue.drop_unwanted()
                plain.drop(what)
        assert len(queue) == len(plain.waiting)
    pieces, completed = queue.take(1_000_000)
    assert (b"".join(pieces), [each.end for each in completed]) == plain.take(1_000_000)
    assert len(queue) == 0


def test_a_queue_that_is_read_slowly_keeps_its_order_through_all_sizes() -> None:
    registry = Registry()
    registry.max_waiting = 10**6
    queue = BarQueue(registry, lambda: None)  # type: ignore[arg-type]
    put = taken = 0
    for turn in range(60):
        bars = [Published(n, put + n, 0, -(n % 2), b"%d;" % (put + n)) for n in range(2_000)]
        queue.put_bars(PublishedBars.of(bars), np.arange(2_000))
        put += 2_000
        limit = 100 if turn < 40 else 5_000
        for number in b"".join(queue.take(limit)[0]).split(b";")[:-1]:
            assert int(number) == taken
            taken += 1
    assert len(queue) == put - taken
