"""Tell each stream what became of the bars it wants; what waits for a stream is bounded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from itertools import islice
from typing import NamedTuple

from aggregator.bars.bar import Bar, BarKey
from aggregator.bars.engine import BarEngine
from marketdata.errors import MarketDataError
from marketdata.symbols import normalize_symbol
from marketdata.wire.market_data_pb2 import BarTopic

# A topic of this symbol is of every symbol.
ALL = "*"


class TooManyBarsWait(MarketDataError):
    """A stream is too slow for the bars it wants: one more would wait."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the reader is too slow: {limit} bars wait for it")
        self.limit = limit


class TooManyWatched(MarketDataError):
    """One stream asks for more symbols than the limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"one stream watches at most {limit} symbols")
        self.limit = limit


class TooManyTopics(MarketDataError):
    """One stream asks for the bars of more topics than the limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"one stream watches at most {limit} topics of bars")
        self.limit = limit


class Topic(NamedTuple):
    """The bars of one interval of one symbol, or of all."""

    symbol: str
    interval: str


def read_topics(topics: Iterable[BarTopic]) -> list[Topic]:
    """Return what messages ask for.

    Raises:
        InvalidSymbol: a symbol is none.
    """
    return [
        Topic(ALL if topic.symbol == ALL else normalize_symbol(topic.symbol), topic.interval)
        for topic in topics
    ]


class Completed(NamedTuple):
    """Every bar of the interval that ends there was published."""

    interval: str
    end: int


class BarQueue:
    """What one stream still has to send of bars.

    Of a bar that is not closed only the newest state waits; every closed one does. Beyond the limit
    :attr:`overflow` says so, and nothing more is taken in.
    """

    def __init__(self, registry: BarWatchers, wake: Callable[[], None]) -> None:
        self._registry = registry
        self._wake = wake
        self.topics: set[Topic] = set()
        # In the order of publication, so that of each symbol and interval the sequence only grows.
        # An open bar is None here: its state is that of the moment when it is sent. A closed one
        # has its revision in the key, for each state of it is sent; others have -1.
        self._waiting: dict[tuple[BarKey, int] | Completed, Bar | None] = {}
        self.overflow: TooManyBarsWait | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def wants(self, symbol: str, interval: str) -> bool:
        """Return whether the stream wants these bars."""
        return bool({Topic(symbol, interval), Topic(ALL, interval)} & self.topics)

    def put(self, key: BarKey, bar: Bar | None) -> None:
        """Let the newest state of a bar wait; None: it is open."""
        place = (key, -1)
        # To the end, where the newest sequence belongs.
        self._waiting.pop(place, None)
        if bar is not None and bar.state.is_closed:
            place = (key, bar.revision)
        self._add(place, bar)

    def put_completed(self, completed: Completed) -> None:
        """Let a marker wait, behind the bars it speaks of."""
        self._add(completed, None)

    def _add(self, place: tuple[BarKey, int] | Completed, bar: Bar | None) -> None:
        if self.overflow is not None:
            return
        if len(self._waiting) >= self._registry.max_waiting:
            self.overflow = TooManyBarsWait(self._registry.max_waiting)
            self._registry.overflows += 1
            self._waiting.clear()
        else:
            self._waiting[place] = bar
        self._wake()

    def drop_unwanted(self) -> None:
        """Do not send what waits of bars that the stream does not want any more."""
        for place in list(self._waiting):
            if isinstance(place, Completed):
                wanted = self._registry.follows(self) or any(
                    topic.interval == place.interval for topic in self.topics
                )
            else:
                wanted = self.wants(place[0].symbol, place[0].interval)
            if not wanted:
                del self._waiting[place]

    def take(self, limit: int) -> tuple[list[Bar], list[Completed]]:
        """Return up to ``limit`` of what waits, the longest waiting first.

        Raises:
            TooManyBarsWait: there was more than the limit.
        """
        if self.overflow is not None:
            raise self.overflow
        bars: list[Bar] = []
        completed: list[Completed] = []
        for place in list(islice(self._waiting, limit)):
            bar = self._waiting.pop(place)
            if isinstance(place, Completed):
                completed.append(place)
                continue
            if bar is None:
                bar = self._registry.open_bar(place[0])
            if bar is not None:
                bars.append(bar)
        return bars, completed


class BarWatchers:
    """The streams that want bars, by symbol and interval; the engine's audience.

    :attr:`overflows` counts streams that were too slow.
    """

    def __init__(self, engine: BarEngine, max_topics: int, max_waiting: int) -> None:
        self._engine = engine
        self._max_topics = max_topics
        self.max_waiting = max_waiting
        self.overflows = 0
        # By symbol, or ALL, and interval.
        self._queues: dict[str, dict[str, set[BarQueue]]] = {}
        # How many topics of the interval each stream has.
        self._by_interval: dict[str, dict[BarQueue, int]] = {}
        # Those that have every marker.
        self._followers: set[BarQueue] = set()

    @property
    def watched_topics(self) -> int:
        """How many topics have at least one stream."""
        return sum(map(len, self._queues.values()))

    def add(self, queue: BarQueue, topics: Iterable[Topic]) -> None:
        """Let a stream have bars: their present states first, every later one after them.

        Raises:
            InvalidInterval: there are no such bars.
            TooManyTopics: the stream would have more topics than the limit.
        """
        topics = list(topics)
        for topic in topics:
            self._engine.plan.interval(topic.interval)
        for topic in topics:
            if topic in queue.topics:
                continue
            if len(queue.topics) >= self._max_topics:
                raise TooManyTopics(self._max_topics)
            by_interval = self._queues.setdefault(topic.symbol, {})
            by_interval.setdefault(topic.interval, set()).add(queue)
            queue.topics.add(topic)
            counts = self._by_interval.setdefault(topic.interval, {})
            counts[queue] = counts.get(queue, 0) + 1
            symbols = self._engine.symbols if topic.symbol == ALL else (topic.symbol,)
            for symbol in symbols:
                early, open_key = self._engine.present(symbol, topic.interval)
                for bar in early:
                    queue.put(bar.key, bar)
                if open_key is not None:
                    queue.put(open_key, None)

    def add_follower(self, queue: BarQueue) -> None:
        """Let a stream have the markers of all intervals."""
        self._followers.add(queue)

    def close(self, queue: BarQueue) -> None:
        """Leave nothing of a stream behind."""
        self.remove(queue, list(queue.topics))
        self._followers.discard(queue)

    def follows(self, queue: BarQueue) -> bool:
        """Return whether a stream has the markers of all intervals."""
        return queue in self._followers

    def remove(self, queue: BarQueue, topics: Iterable[Topic]) -> None:
        """Let a stream have no more of these bars; what waits of them is not sent."""
        gone = queue.topics & set(topics)
        for topic in gone:
            queue.topics.discard(topic)
            counts = self._by_interval[topic.interval]
            counts[queue] -= 1
            if not counts[queue]:
                del counts[queue]
            by_interval = self._queues[topic.symbol]
            by_interval[topic.interval].discard(queue)
            if not by_interval[topic.interval]:
                del by_interval[topic.interval]
            if not by_interval:
                del self._queues[topic.symbol]
        if gone:
            queue.drop_unwanted()

    def open_bar(self, key: BarKey) -> Bar | None:
        """Return the newest state of an open bar, or None if it is not open any more."""
        bar = self._engine.open_bar(key.symbol, key.interval)
        return bar if bar is not None and bar.start == key.start else None

    # What the engine asks and tells.

    def symbols_wanted(self) -> Collection[str] | None:
        """Return the symbols of which somebody wants bars; None: all."""
        return None if ALL in self._queues else self._queues.keys()

    def wanted(self, symbol: str) -> Collection[str]:
        """Return the intervals of which somebody wants the bars of ``symbol``."""
        if not self._queues:
            return ()
        of_all, own = self._queues.get(ALL), self._queues.get(symbol)
        if of_all is None or own is None:
            return own or of_all or ()
        return of_all.keys() | own.keys()

    def partial_changed(self, key: BarKey) -> None:
        """Let an open bar's newest state wait for those who want it."""
        for queue in self._of(key.symbol, key.interval):
            queue.put(key, None)

    def bar_published(self, bar: Bar) -> None:
        """Let a state wait for those who want it."""
        if self._queues:
            for queue in self._of(bar.symbol, bar.interval):
                queue.put(bar.key, bar)

    def interval_completed(self, interval: str, end: int) -> None:
        """Let a marker wait for those who want any bars of the interval."""
        for queue in self._by_interval.get(interval, {}).keys() | self._followers:
            queue.put_completed(Completed(interval, end))

    def _of(self, symbol: str, interval: str) -> Collection[BarQueue]:
        of_all, own = (
            self._queues.get(name, {}).get(interval, set[BarQueue]()) for name in (ALL, symbol)
        )
        return of_all | own if own and of_all else own or of_all
