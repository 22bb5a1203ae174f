"""Tell each stream what became of the bars it wants; what waits for a stream is bounded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from aggregator.bars.audience import Published
from aggregator.bars.engine import BarEngine
from marketdata.errors import MarketDataError
from marketdata.symbols import normalize_symbol
from marketdata.wire.market_data_pb2 import BarTopic

# A topic of this symbol is of every symbol.
ALL = "*"
# What waits in place of an open bar's state, which is that of the moment when it is sent: nothing,
# or that it must be a state published later than what waits before it.
_NEWEST = None
_NEWER = b""


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
    """What one stream still has to send of bars, in wire bytes.

    Of a bar that is not closed only the newest state waits; every closed one does. Beyond the limit
    :attr:`overflow` says so, and nothing more is taken in.
    """

    def __init__(self, registry: BarWatchers, wake: Callable[[], None]) -> None:
        self._registry = registry
        self._wake = wake
        self.topics: set[Topic] = set()
        # In the order of publication, so that of each series the sequence only grows. The open bar
        # of a series is the series alone, and stands behind the others of it. They have series,
        # start, number and revision: a closed one its own, for each state of it is sent; an early
        # one -1.
        self._waiting: dict[int | tuple[int, int, int, int] | Completed, bytes | None] = {}
        self.overflow: TooManyBarsWait | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def put_partials(self, series: Sequence[int]) -> None:
        """Let the newest states of open bars wait."""
        if self.overflow is None:
            # Those that wait already stay where they are, so that none starves.
            self._waiting.update(dict.fromkeys(series, _NEWEST))
            self._added()

    def put_bars(self, bars: Iterable[Published]) -> None:
        """Let states wait, each behind those of its series that came before."""
        if self.overflow is not None:
            return
        waiting = self._waiting
        for series, start, number, revision, wire in bars:
            # An early state is worth nothing beside a later one.
            waiting.pop((series, start, number, -1), None)
            waiting[series, start, number, revision] = wire
            if series in waiting:
                del waiting[series]
                waiting[series] = _NEWER
        self._added()

    def put_completed(self, completed: Completed) -> None:
        """Let a marker wait, behind the bars it speaks of."""
        if self.overflow is None:
            self._waiting[completed] = None
            self._added()

    def _added(self) -> None:
        if len(self._waiting) > self._registry.max_waiting:
            self.overflow = TooManyBarsWait(self._registry.max_waiting)
            self._registry.overflows += 1
            self._waiting.clear()
        self._wake()

    def drop_unwanted(self) -> None:
        """Do not send what waits of bars that the stream does not want any more."""
        for place in list(self._waiting):
            if isinstance(place, Completed):
                wanted = any(topic.interval == place.interval for topic in self.topics)
            else:
                series = place if isinstance(place, int) else place[0]
                wanted = self in self._registry.of(series)
            if not wanted:
                del self._waiting[place]

    def take(self, limit: int) -> tuple[list[bytes], list[Completed]]:
        """Return up to ``limit`` of what waits, the longest waiting first.

        Bars are pieces of a serialized ``UpdateBatch``.

        Raises:
            TooManyBarsWait: there was more than the limit.
        """
        if self.overflow is not None:
            raise self.overflow
        waiting = self._waiting
        if len(waiting) <= limit:
            taken, self._waiting = waiting, {}
        else:
            taken = dict(islice(waiting.items(), limit))
            for place in taken:
                del waiting[place]
        pieces: list[bytes] = []
        completed: list[Completed] = []
        # The open ones, and their places among the pieces.
        series: list[int] = []
        places: list[int] = []
        for place, wire in taken.items():
            if isinstance(place, int):
                if wire is not _NEWEST:
                    self._registry.renew(place)
                series.append(place)
                places.append(len(pieces))
                pieces.append(b"")
            elif isinstance(place, Completed):
                completed.append(place)
            elif wire is not None:
                pieces.append(wire)
        if series:
            for at, wire in zip(places, self._registry.partials(series), strict=True):
                pieces[at] = wire
        # Those that are not open any more have none.
        return list(filter(None, pieces)), completed


class BarWatchers:
    """The streams that want bars, by symbol and interval; the engine's audience.

    :attr:`overflows` counts streams that were too slow.
    """

    def __init__(self, engine: BarEngine, max_topics: int, max_waiting: int) -> None:
        self._engine = engine
        self._max_topics = max_topics
        self.max_waiting = max_waiting
        self.overflows = 0
        self._intervals = len(engine.intervals)
        self._numbers = {name: number for number, name in enumerate(engine.intervals)}
        # Those that want the bars of every symbol, by the number of the interval.
        self._of_all: list[set[BarQueue]] = [set() for _ in engine.intervals]
        self._by_series: dict[int, set[BarQueue]] = {}
        # Of symbols that do not exist yet, by the number of the interval.
        self._awaited: dict[str, dict[int, set[BarQueue]]] = {}
        # How many topics of the interval each stream has.
        self._by_interval: dict[str, dict[BarQueue, int]] = {}
        # Those that want whatever anyone wants; None: that is not so.
        self._everyone: list[BarQueue] | None = []

    @property
    def watched_topics(self) -> int:
        """How many topics have at least one stream."""
        awaited = sum(map(len, self._awaited.values()))
        return sum(map(bool, self._of_all)) + len(self._by_series) + awaited

    def add(self, queue: BarQueue, topics: Iterable[Topic]) -> None:
        """Let a stream have bars: their present states first, every later one after them.

        Raises:
            InvalidInterval: there are no such bars.
            TooManyTopics: the stream would have more topics than the limit.
        """
        topics = list(topics)
        for topic in topics:
            self._engine.plan.interval(topic.interval)
        # Each once, in their order.
        series: dict[int, None] = {}
        try:
            for topic in topics:
                if topic not in queue.topics:
                    if len(queue.topics) >= self._max_topics:
                        raise TooManyTopics(self._max_topics)
                    series.update(dict.fromkeys(self._add(queue, topic)))
        finally:
            self._find_everyone()
        if series:
            early, still_open = self._engine.present(list(series))
            queue.put_bars(early)
            queue.put_partials(still_open)

    # Returns the series that there are of the topic.
    def _add(self, queue: BarQueue, topic: Topic) -> Sequence[int]:
        engine, number = self._engine, self._numbers[topic.interval]
        queue.topics.add(topic)
        counts = self._by_interval.setdefault(topic.interval, {})
        counts[queue] = counts.get(queue, 0) + 1
        if topic.symbol == ALL:
            if not self._of_all[number]:
                engine.want_all(number, True)
            self._of_all[number].add(queue)
            return engine.all_series(number)
        if (series := engine.series(topic.symbol, topic.interval)) is None:
            self._awaited.setdefault(topic.symbol, {}).setdefault(number, set()).add(queue)
            return ()
        if series not in self._by_series:
            engine.want(series, True)
        self._by_series.setdefault(series, set()).add(queue)
        return (series,)

    def close(self, queue: BarQueue) -> None:
        """Leave nothing of a stream behind."""
        self.remove(queue, list(queue.topics))

    def remove(self, queue: BarQueue, topics: Iterable[Topic]) -> None:
        """Let a stream have no more of these bars; what waits of them is not sent."""
        gone = queue.topics & set(topics)
        for topic in gone:
            queue.topics.discard(topic)
            counts = self._by_interval[topic.interval]
            counts[queue] -= 1
            if not counts[queue]:
                del counts[queue]
            self._remove(queue, topic)
        if gone:
            self._find_everyone()
            queue.drop_unwanted()

    def _remove(self, queue: BarQueue, topic: Topic) -> None:
        engine, number = self._engine, self._numbers[topic.interval]
        if topic.symbol == ALL:
            self._of_all[number].discard(queue)
            if not self._of_all[number]:
                engine.want_all(number, False)
        elif (series := engine.series(topic.symbol, topic.interval)) is None:
            _discard(self._awaited[topic.symbol], number, queue)
            if not self._awaited[topic.symbol]:
                del self._awaited[topic.symbol]
        else:
            _discard(self._by_series, series, queue)
            if series not in self._by_series:
                engine.want(series, False)

    def _find_everyone(self) -> None:
        queues = set().union(*self._by_interval.values())
        of_all = [wanting for wanting in self._of_all if wanting]
        named = self._by_series or self._awaited
        same = not named and all(wanting == queues for wanting in of_all)
        self._everyone = list(queues) if same or len(queues) <= 1 else None

    # What queues ask.

    def of(self, series: int) -> Collection[BarQueue]:
        """Return the streams that want a series."""
        of_all, own = self._of_all[series % self._intervals], self._by_series.get(series)
        if own is None:
            return of_all
        return of_all | own if of_all else own

    def partials(self, series: Sequence[int]) -> list[bytes]:
        """Return the newest states of open bars, empty where none is open."""
        return self._engine.partials(series)

    def renew(self, series: int) -> None:
        """Publish the open bar of a series once more, if there is one."""
        self._engine.renew(series)

    # What the engine tells.

    def opened(self, symbol: str, row: int) -> Iterable[int]:
        """Return the intervals of which somebody waits for the bars of a new symbol."""
        awaited = self._awaited.pop(symbol, {})
        for number, queues in awaited.items():
            self._by_series[row * self._intervals + number] = queues
        return awaited

    def partials_changed(self, series: Sequence[int]) -> None:
        """Let the newest states of open bars wait for those who want them."""
        if self._everyone is not None:
            for queue in self._everyone:
                queue.put_partials(series)
            return
        shares: dict[BarQueue, list[int]] = {}
        for each in series:
            for queue in self.of(each):
                shares.setdefault(queue, []).append(each)
        for queue, own in shares.items():
            queue.put_partials(own)

    def bars_published(self, bars: Sequence[Published]) -> None:
        """Let states wait for those who want them."""
        if self._everyone is not None:
            for queue in self._everyone:
                queue.put_bars(bars)
            return
        shares: dict[BarQueue, list[Published]] = {}
        for bar in bars:
            for queue in self.of(bar.series):
                shares.setdefault(queue, []).append(bar)
        for queue, own in shares.items():
            queue.put_bars(own)

    def interval_completed(self, interval: str, end: int) -> None:
        """Let a marker wait for those who want any bars of the interval."""
        for queue in self._by_interval.get(interval, {}):
            queue.put_completed(Completed(interval, end))


def _discard(queues: dict[int, set[BarQueue]], key: int, queue: BarQueue) -> None:
    # Leaves no empty set behind.
    queues[key].discard(queue)
    if not queues[key]:
        del queues[key]
