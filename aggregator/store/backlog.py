"""Hold the bars that wait to be written, and show them to readers meanwhile."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain

from aggregator.bars.bar import Bar, BarKey

Series = tuple[str, str]
# By start and number.
Group = dict[tuple[int, int], Bar]


class Backlog:
    """The newest state of each bar that is not in the store yet, the longest waiting first.

    Bars that were taken are in flight until they are settled or given back; they still count as
    waiting. Beyond ``max_waiting`` bars the oldest is lost; :attr:`lost` counts these by interval.
    """

    def __init__(self, max_waiting: int) -> None:
        self.max_waiting = max_waiting
        # A dict would pass by all that it has lost before it finds the oldest.
        self._waiting: OrderedDict[BarKey, Bar] = OrderedDict()
        self._in_flight: dict[BarKey, Bar] = {}
        # The bars of both, for readers.
        self._series: dict[Series, Group] = {}
        self._readers: dict[Series, list[Group]] = {}
        self.lost: Counter[str] = Counter()
        # How many bars were put, and of each that is not written how many before it.
        self.count = 0
        self._before: dict[BarKey, int] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._in_flight)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to take."""
        return not self._waiting

    @property
    def ends(self) -> set[int]:
        """When the bars end that are not in the store yet."""
        both = chain(self._waiting.values(), self._in_flight.values())
        return {bar.end for bar in both}

    @property
    def settled(self) -> int:
        """How many bars, of those that were put first, are written or lost."""
        for key in chain(self._in_flight, self._waiting):
            return self._before[key]
        return self.count

    def put(self, bars: Iterable[Bar]) -> list[Bar]:
        """Queue ``bars``, each in place of its earlier state; return the bars that are lost.

        A bar must not change after it was put, unless it is put again at once.
        """
        lost: list[Bar] = []
        for bar in bars:
            key = bar.key
            known = self._waiting.get(key)
            self._before.setdefault(key, self.count)
            self.count += 1
            if known is None or known.rank <= bar.rank:
                self._waiting[key] = bar
                series, place = (bar.symbol, bar.interval), (bar.start, bar.number)
                self._series.setdefault(series, {})[place] = bar
                for seen in self._readers.get(series, ()):
                    seen[place] = bar
            if len(self) > self.max_waiting:
                # The bars in flight may still be written, so the oldest of the others is lost.
                oldest, given_up = self._waiting.popitem(last=False)
                lost.append(given_up)
                if oldest not in self._in_flight:
                    self._forget(oldest)
        for bar in lost:
            self.lost[bar.interval] += 1
        return lost

    def take(self, limit: int) -> list[Bar]:
        """Return up to ``limit`` bars to write; then :meth:`settle` or :meth:`give_back`."""
        count = min(limit, len(self._waiting))
        self._in_flight = dict(self._waiting.popitem(last=False) for _ in range(count))
        return list(self._in_flight.values())

    def settle(self) -> int:
        """Forget the bars that were taken, since they are written; return how many."""
        taken, self._in_flight = self._in_flight, {}
        for key in taken:
            if key not in self._waiting:
                self._forget(key)
        return len(taken)

    def give_back(self) -> None:
        """Queue the bars that were taken again, before all others."""
        for key, bar in reversed(self._in_flight.items()):
            self._waiting.setdefault(key, bar)
            self._waiting.move_to_end(key, last=False)
        self._in_flight = {}

    def find(self, symbol: str, interval: str) -> Group:
        """Return the waiting bars of one symbol and interval; do not change them."""
        return self._series.get((symbol, interval), {})

    @contextmanager
    def reading(self, symbol: str, interval: str) -> Iterator[Group]:
        """Give the waiting bars of one symbol and interval, and those put within the context.

        Bars that are written meanwhile stay in it: a read that began before may not see them.
        """
        series = symbol, interval
        seen = dict(self.find(symbol, interval))
        readers = self._readers.setdefault(series, [])
        readers.append(seen)
        try:
            yield seen
        finally:
            # By identity: two readers may have seen the same.
            readers[:] = [other for other in readers if other is not seen]
            if not readers:
                self._readers.pop(series, None)

    def _forget(self, key: BarKey) -> None:
        self._before.pop(key, None)
        series = key.symbol, key.interval
        group = self._series[series]
        group.pop((key.start, key.number), None)
        if not group:
            del self._series[series]
