"""Hold the bars that wait to be written, and show them to readers meanwhile."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

from aggregator.bars.bar import Bar
from aggregator.store.waiting import Key, Waiting, ends_of, find_in, gather, keys_of

Series = tuple[str, str]
Place = tuple[int, int]
# By start and number.
Group = dict[Place, Bar]

# So many bars that are put are told apart at once: 0.1 ms.
FEW_BARS = 64


class Backlog:
    """The newest state of each bar that is not in the store yet, the longest waiting first.

    To put bars that closed together takes no time for each. They are told apart later: in parts by
    :meth:`tell_apart`, at the latest when they are taken, or when there are too many.

    Bars that were taken are in flight until they are settled or given back; they still count as
    waiting. Beyond ``max_waiting`` bars the oldest is lost; :attr:`lost` counts these by interval.
    """

    def __init__(self, max_waiting: int) -> None:
        self.max_waiting = max_waiting
        # What was put and is not told apart yet; all of it waits after the others.
        self._coming: deque[Sequence[Bar]] = deque()
        self._n_coming = 0
        # A dict would pass by all that it has lost before it finds the oldest.
        self._waiting: OrderedDict[Key, Waiting] = OrderedDict()
        self._in_flight: dict[Key, Waiting] = {}
        # The bars of both, for readers.
        self._series: dict[Series, dict[Place, Waiting]] = {}
        self._readers: dict[Series, list[Group]] = {}
        self.lost: Counter[str] = Counter()
        # How many bars were put, and of each that is not written how many before it.
        self.count = 0
        self._before: dict[Key, int] = {}

    def __len__(self) -> int:
        # A later state of a bar counts until it is told apart.
        return len(self._waiting) + len(self._in_flight) + self._n_coming

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to take."""
        return not self._waiting and not self._coming

    @property
    def ends(self) -> set[int]:
        """When the bars end that are not in the store yet."""
        coming = (Waiting(part, index) for part in self._coming for index in range(len(part)))
        return ends_of(chain(self._waiting.values(), self._in_flight.values(), coming))

    @property
    def settled(self) -> int:
        """How many bars, of those that were put first, are written or lost."""
        for key in chain(self._in_flight, self._waiting):
            return self._before[key]
        return self.count - self._n_coming

    def put(self, bars: Iterable[Bar]) -> list[Bar]:
        """Queue ``bars``, each in place of its earlier state; return the bars that are lost.

        A bar must not change after it was put, unless it is put again at once.
        """
        part = bars if isinstance(bars, Sequence) else list(bars)
        self._coming.append(part)
        self._n_coming += len(part)
        self.count += len(part)
        for (symbol, interval), readers in self._readers.items():
            for bar in find_in(part, symbol, interval):
                for seen in readers:
                    _show(seen, bar)
        if len(self) > self.max_waiting or self._n_coming <= FEW_BARS:
            return self.tell_apart(self._n_coming)
        return []

    @property
    def coming(self) -> int:
        """How many bars are not told apart yet."""
        return self._n_coming

    def tell_apart(self, count: int) -> list[Bar]:
        """Tell some of the bars apart that are coming; return those that are lost."""
        lost: list[Bar] = []
        while count > 0 and self._coming:
            part = self._coming.popleft()
            if len(part) > count:
                self._coming.appendleft(part[count:])
                part = part[:count]
            count -= len(part)
            before = self.count - self._n_coming
            self._n_coming -= len(part)
            for index, key in enumerate(keys_of(part)):
                self._queue(key, Waiting(part, index), before + index)
                if len(self._waiting) + len(self._in_flight) > self.max_waiting:
                    lost.append(self._lose())
        return lost

    def _queue(self, key: Key, new: Waiting, before: int) -> None:
        known = self._waiting.get(key)
        self._before.setdefault(key, before)
        if known is None or known.bar.rank <= new.bar.rank:
            self._waiting[key] = new
            self._series.setdefault(key[:2], {})[key[2:]] = new

    def _lose(self) -> Bar:
        # The bars in flight may still be written, so the oldest of the others is lost.
        oldest, given_up = self._waiting.popitem(last=False)
        self.lost[oldest[1]] += 1
        if oldest not in self._in_flight:
            self._forget(oldest)
        return given_up.bar

    def take(self, limit: int) -> list[Sequence[Bar]]:
        """Return up to ``limit`` bars to write, in parts; then settle or give them back."""
        while self._coming and len(self._waiting) < limit:
            # Loses none: all of them together are no more than may wait.
            self.tell_apart(limit - len(self._waiting))
        count = min(limit, len(self._waiting))
        self._in_flight = dict(self._waiting.popitem(last=False) for _ in range(count))
        return gather(self._in_flight.values())

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
        """Return the waiting bars of one symbol and interval."""
        known = self._series.get((symbol, interval), {})
        found = {place: waiting.bar for place, waiting in known.items()}
        for part in self._coming:
            for bar in find_in(part, symbol, interval):
                _show(found, bar)
        return found

    @contextmanager
    def reading(self, symbol: str, interval: str) -> Iterator[Group]:
        """Give the waiting bars of one symbol and interval, and those put within the context.

        Bars that are written meanwhile stay in it: a read that began before may not see them.
        """
        series = symbol, interval
        seen = self.find(symbol, interval)
        readers = self._readers.setdefault(series, [])
        readers.append(seen)
        try:
            yield seen
        finally:
            # By identity: two readers may have seen the same.
            readers[:] = [other for other in readers if other is not seen]
            if not readers:
                self._readers.pop(series, None)

    def _forget(self, key: Key) -> None:
        self._before.pop(key, None)
        group = self._series[key[:2]]
        group.pop(key[2:], None)
        if not group:
            del self._series[key[:2]]


def _show(group: Group, bar: Bar) -> None:
    place = bar.start, bar.number
    known = group.get(place)
    if known is None or known.rank <= bar.rank:
        group[place] = bar
