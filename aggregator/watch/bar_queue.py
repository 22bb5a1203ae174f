"""Hold the states of bars that wait for one slow stream; their number is bounded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

from aggregator.bars.published import Entries, Key, series_of
from aggregator.bars.series import BarSeries
from aggregator.watch.marks import Marks
from aggregator.watch.topics import Topic
from marketdata.errors import MarketDataError

# These wait in place of an open bar's state, which is read when it is sent. _OVERTAKEN: later
# states of its series wait after it, so it moves to the end when it is published again. Until then
# it is what it was: a reader, however slow, changes no sequence.
_NEWEST = None
_OVERTAKEN = b""


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

    Every closed state waits; of a bar that is not closed only the newest one does. Beyond the limit
    :attr:`overflow` is set, and the queue accepts nothing more. While :attr:`is_held` nothing
    waits: the reader is lost.
    """

    def __init__(self, registry: Registry, wake: Callable[[], None]) -> None:
        self._registry = registry
        self._wake = wake
        self.topics: set[Topic] = set()
        self.is_held = False
        # From which inputs those that wait come.
        self.marks = Marks()
        # In the order of publication, so the sequence of each series only grows. The key of an open
        # bar is its series alone. That of the others is (series, start, number, revision): each
        # state of a closed bar is sent, so it has its own revision; an early bar has -1.
        self._waiting: dict[int | Key | Completed, bytes | None] = {}
        # The starts of the early bars that wait, and whether open ones do; maybe more than do.
        self._early_starts: set[int] = set()
        self._has_open = False
        # The open bars that are overtaken.
        self._overtaken: set[int] = set()
        self.overflow: TooManyBarsWait | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def put_partials(self, series: Sequence[int], position: int = 0) -> None:
        """Queue the newest states of open bars, of the input at ``position``."""
        if self.overflow is not None or self.is_held:
            return
        waiting = self._waiting
        if self._overtaken:
            for each in self._overtaken.intersection(series):
                waiting.pop(each, None)
            self._overtaken.difference_update(series)
        before = len(waiting)
        self._has_open = True
        # Those that wait already keep their places, so none of them starves.
        waiting.update(dict.fromkeys(series, _NEWEST))
        self._added(position, len(waiting) - before)

    def put_overtaken(self, series: Sequence[int], position: int) -> None:
        """Queue open bars that were counted anew where later states of their series wait."""
        if self._overtaken:
            self.put_partials(list(self._overtaken.intersection(series)), position)

    @property
    def takes(self) -> bool:
        """Whether more may wait."""
        return self.overflow is None and not self.is_held

    def put_bars(self, bars: Entries, position: int = 0) -> None:
        """Queue states in their order, of the input at ``position``."""
        if not self.takes:
            return
        waiting = self._waiting
        if not self._early_starts.isdisjoint(bars.starts):
            # A later state replaces an early one.
            for key in bars.early_keys():
                waiting.pop(key, None)
        waiting.update(zip(bars.keys, bars.wires, strict=True))
        self._early_starts |= bars.early_starts
        if self._has_open:
            overtaken = set(filter(waiting.__contains__, bars.series.tolist()))
            waiting.update(dict.fromkeys(overtaken, _OVERTAKEN))
            self._overtaken |= overtaken
        self._added(position, len(bars.keys))

    def put_completed(self, completed: Completed, position: int = 0) -> None:
        """Queue a marker, after the bars of its interval."""
        if self.overflow is None and not self.is_held:
            self._waiting[completed] = None
            self._added(position, 1)

    def _added(self, position: int, count: int) -> None:
        self.marks.added(position, count)
        if len(self._waiting) > self._registry.max_waiting:
            self.overflow = TooManyBarsWait(self._registry.max_waiting)
            self._registry.overflows += 1
            self.clear()
        self._wake()

    def clear(self) -> None:
        """Let nothing wait."""
        self._waiting.clear()
        self._overtaken.clear()
        self._emptied()
        self.marks.took(0, 0)

    def _emptied(self) -> None:
        self._early_starts.clear()
        self._has_open = False

    def drop_unwanted(self) -> None:
        """Remove the states of bars that the stream no longer wants."""
        for place in list(self._waiting):
            if isinstance(place, Completed):
                wanted = any(topic.interval == place.interval for topic in self.topics)
            else:
                series = place if isinstance(place, int) else series_of(place)
                wanted = self in self._registry.of(series)
            if not wanted:
                del self._waiting[place]
                if isinstance(place, int):
                    self._overtaken.discard(place)

    def take(self, limit: int) -> tuple[list[bytes], list[Completed]]:
        """Return up to ``limit`` states and markers, the longest waiting first.

        Each state is one of the ``bars`` of a serialized ``UpdateBatch``.

        Raises:
            TooManyBarsWait: more waited than the limit allows.
        """
        if self.overflow is not None:
            raise self.overflow
        waiting = self._waiting
        if len(waiting) <= limit:
            taken, self._waiting = waiting, {}
            self._emptied()
        else:
            taken = dict(islice(waiting.items(), limit))
            for place in taken:
                del waiting[place]
        self.marks.took(len(taken), len(self._waiting))
        states: list[bytes] = []
        completed: list[Completed] = []
        # The open bars, and their places among the states.
        series: list[int] = []
        places: list[int] = []
        for place, wire in taken.items():
            if isinstance(place, int):
                self._overtaken.discard(place)
                series.append(place)
                places.append(len(states))
                states.append(b"")
            elif isinstance(place, Completed):
                completed.append(place)
            elif wire is not None:
                states.append(wire)
        if series:
            for at, wire in zip(places, self._registry.bars.partials(series), strict=True):
                states[at] = wire
        # A bar that is not open any more has no such state.
        return list(filter(None, states)), completed
