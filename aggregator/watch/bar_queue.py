"""Hold the states of bars that wait for one slow stream; their number is bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from aggregator.bars.published import PublishedBars
from aggregator.bars.series import BarSeries
from aggregator.watch import waiting
from aggregator.watch.marks import Marks
from aggregator.watch.topics import Topic
from aggregator.watch.waiting import EMPTY, NO_ROOM
from marketdata.errors import MarketDataError

# What a queue keeps when nothing waits any more: room for the slices of the clock that wait
# between two messages. The memory of more is given back.
_KEPT_ENTRIES = 2**15
_KEPT_BYTES = 2**23


class TooManyBarsWait(MarketDataError):
    """A stream reads its bars too slowly: more wait for it than the limit allows."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the reader is too slow: {limit} bars wait for it")
        self.limit = limit


class Completed(NamedTuple):
    """A marker: every bar of the interval that ends at ``end`` was published."""

    interval: str
    end: int


class Registry(Protocol):
    """All queues, as far as one of them needs it."""

    bars: BarSeries
    max_waiting: int
    # How many queues were too slow.
    overflows: int

    def of(self, series: int) -> Collection[BarQueue]:
        """Return the queues that want the bars of a series."""


class BarQueue:
    """The states of bars that one stream still has to send, as wire bytes.

    Every closed state waits; of a bar that is not closed only the newest one does. They wait in the
    order of publication, so the sequence of each series only grows. The state of an open bar is
    read when it is sent. If later states of its series wait after it, it moves to the end when it
    is published again; until then it is what it was: a reader, however slow, changes no sequence.

    Beyond the limit :attr:`overflow` is set, and the queue accepts nothing more. While
    :attr:`is_held` nothing waits: the reader is lost.
    """

    def __init__(self, registry: Registry, wake: Callable[[], None]) -> None:
        self._registry = registry
        self._wake = wake
        self.topics: set[Topic] = set()
        self.is_held = False
        # From which inputs those that wait come.
        self.marks = Marks()
        self._waiting = EMPTY
        self._count = 0
        # The markers that wait, in their order.
        self._completed: deque[Completed] = deque()
        self.overflow: TooManyBarsWait | None = None

    def __len__(self) -> int:
        return self._count

    @property
    def takes(self) -> bool:
        """Whether more may wait."""
        return self.overflow is None and not self.is_held

    def put_partials(self, series: NDArray[np.int64], position: int = 0) -> None:
        """Queue the newest states of open bars, of the input at ``position``."""
        if self.takes:
            self._put_open(series, position, only_overtaken=False)

    def put_overtaken(self, series: NDArray[np.int64], position: int) -> None:
        """Queue open bars that were counted anew where later states of their series wait."""
        if self._count:
            self._put_open(series, position, only_overtaken=True)

    def _put_open(self, series: NDArray[np.int64], position: int, *, only_overtaken: bool) -> None:
        added = waiting.put_open(self._waiting, series, only_overtaken)
        if added == NO_ROOM:
            self._make_room(len(series), 0)
            added = waiting.put_open(self._waiting, series, only_overtaken)
        # Those that wait already keep their places, so none of them starves.
        self._added(position, added)

    def put_bars(self, bars: PublishedBars, indexes: NDArray[np.int64], position: int = 0) -> None:
        """Queue some of these states in this order, of the input at ``position``."""
        if not self.takes:
            return
        states = bars.places, bars.stops, bars.data, indexes
        added = waiting.put_bars(self._waiting, *states)
        if added == NO_ROOM:
            self._make_room(len(indexes), len(bars.data))
            added = waiting.put_bars(self._waiting, *states)
        self._added(position, added)

    def put_completed(self, completed: Completed, position: int = 0) -> None:
        """Queue a marker, after the bars of its interval."""
        if self.takes:
            self._completed.append(completed)
            if waiting.put_marker(self._waiting) == NO_ROOM:
                self._make_room(1, 0)
                waiting.put_marker(self._waiting)
            self._added(position, 1)

    def _make_room(self, count: int, size: int) -> None:
        former = self._waiting
        self._waiting = waiting.make_waiting(
            self._count + count, int(former.state["size"][0]) + size
        )
        waiting.move(former, self._waiting)

    def _added(self, position: int, count: int) -> None:
        self.marks.added(position, count)
        self._count = int(self._waiting.state["count"][0])
        if self._count > self._registry.max_waiting:
            self.overflow = TooManyBarsWait(self._registry.max_waiting)
            self._registry.overflows += 1
            self.clear()
        self._wake()

    def clear(self) -> None:
        """Let nothing wait."""
        self._waiting = EMPTY
        self._count = 0
        self._completed.clear()
        self.marks.took(0, 0)

    def drop_unwanted(self) -> None:
        """Remove the states of bars that the stream no longer wants."""
        state, entries, *_ = self._waiting
        (head,), (tail,) = state["head"], state["tail"]
        places = np.arange(head, tail)
        kinds, series = entries["kind"][head:tail], entries["series"][head:tail]
        is_bar = kinds >= waiting.CLOSED
        is_bar &= kinds != waiting.MARKER
        unwanted = [
            each
            for each in np.unique(series[is_bar]).tolist()
            if self not in self._registry.of(each)
        ]
        waiting.leave(self._waiting, places[is_bar & np.isin(series, unwanted)])
        names = {topic.interval for topic in self.topics}
        is_wanted = [completed.interval in names for completed in self._completed]
        markers = places[kinds == waiting.MARKER]
        waiting.leave(self._waiting, markers[np.logical_not(np.array(is_wanted, bool))])
        self._completed = deque(
            each for each, wanted in zip(self._completed, is_wanted, strict=True) if wanted
        )
        self._count = int(state["count"][0])

    def take(self, limit: int) -> tuple[list[bytes], list[Completed]]:
        """Return up to ``limit`` states and markers, the longest waiting first.

        Joined the states are ``bars`` of a serialized ``UpdateBatch``; there may be several in one
        piece.

        Raises:
            TooManyBarsWait: more waited than the limit allows.
        """
        if self.overflow is not None:
            raise self.overflow
        limit = min(limit, self._count)
        runs, series = np.empty(limit, waiting.RUN), np.empty(limit, np.int64)
        n_runs, n_series = waiting.take(self._waiting, limit, runs, series)
        open_bars = self._registry.bars.partials(series[:n_series]) if n_series else []
        states: list[bytes] = []
        completed: list[Completed] = []
        data = self._waiting.data
        for kind, begin, stop in runs[:n_runs].tolist():
            if kind == waiting.CLOSED:
                states.append(data[begin:stop].tobytes())
            elif kind == waiting.OPEN:
                # A bar that is not open any more has no such state.
                states += filter(None, open_bars[begin:stop])
            else:
                completed += [self._completed.popleft() for _ in range(begin, stop)]
        self._count -= limit
        if not self._count and (
            len(self._waiting.entries) > _KEPT_ENTRIES or len(data) > _KEPT_BYTES
        ):
            self._waiting = EMPTY
        self.marks.took(limit, self._count)
        return states, completed
