"""Divide what one client watches among the owners, and put their markers together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from aggregator.bar_watchers import ALL, TooManyTopics, TooManyWatched, Topic, read_topics
from aggregator.bars.plan import BarPlan
from aggregator.shards.owners import owner_of
from marketdata.symbols import normalize_symbol
from marketdata.wire.market_data_pb2 import BarTopic, IntervalComplete, WatchRequest


class Watched:
    """What one Watch stream carries.

    Every worker sends every marker from when the stream began there. One that some worker sent
    before that never comes from all, and is dropped when a later one does.
    """

    def __init__(self, workers: int, plan: BarPlan, *, max_symbols: int, max_topics: int) -> None:
        self._workers = workers
        self._plan = plan
        self._max_symbols = max_symbols
        self._max_topics = max_topics
        self._symbols: set[str] = set()
        self._topics: set[Topic] = set()
        # How many topics there are of each.
        self._intervals: Counter[str] = Counter()
        # By interval: the ends that came from some workers, and from which.
        self._passed: dict[str, dict[int, set[int]]] = {}

    def split(self, request: WatchRequest) -> list[WatchRequest | None]:
        """Return what each worker is to be asked.

        Raises:
            InvalidSymbol: a symbol is none.
            InvalidInterval: there are no such bars.
            TooManyWatched: the stream would watch more symbols than the limit.
            TooManyTopics: the stream would have more topics than the limit.
        """
        parts = [WatchRequest() for _ in range(self._workers)]
        for part in parts:
            if request.HasField("buffer"):
                part.buffer = request.buffer
            if request.HasField("all"):
                part.all = request.all
        self._split_symbols(request, parts)
        self._split_topics(request, parts)
        return [part if part.ByteSize() else None for part in parts]

    def passed(self, worker: int, markers: Iterable[IntervalComplete]) -> list[IntervalComplete]:
        """Take markers of one worker; return those that have come from all and are wanted."""
        found = []
        for marker in markers:
            ends = self._passed.setdefault(marker.interval, {})
            workers = ends.setdefault(marker.end, set())
            workers.add(worker)
            if len(workers) == self._workers:
                for end in [end for end in ends if end <= marker.end]:
                    del ends[end]
                if self._intervals[marker.interval]:
                    found.append(marker)
        return found

    def _split_symbols(self, request: WatchRequest, parts: list[WatchRequest]) -> None:
        for symbol in map(normalize_symbol, request.remove):
            self._symbols.discard(symbol)
            parts[owner_of(symbol, self._workers)].remove.append(symbol)
        for symbol in map(normalize_symbol, request.add):
            if symbol not in self._symbols and len(self._symbols) >= self._max_symbols:
                raise TooManyWatched(self._max_symbols)
            self._symbols.add(symbol)
            parts[owner_of(symbol, self._workers)].add.append(symbol)

    def _split_topics(self, request: WatchRequest, parts: list[WatchRequest]) -> None:
        for topic in read_topics(request.remove_bars):
            if topic in self._topics:
                self._topics.discard(topic)
                self._intervals[topic.interval] -= 1
            for part in self._owners(parts, topic):
                part.remove_bars.append(BarTopic(symbol=topic.symbol, interval=topic.interval))
        for topic in read_topics(request.add_bars):
            self._plan.interval(topic.interval)
            if topic in self._topics:
                continue
            if len(self._topics) >= self._max_topics:
                raise TooManyTopics(self._max_topics)
            self._topics.add(topic)
            self._intervals[topic.interval] += 1
            for part in self._owners(parts, topic):
                part.add_bars.append(BarTopic(symbol=topic.symbol, interval=topic.interval))

    def _owners(self, parts: list[WatchRequest], topic: Topic) -> list[WatchRequest]:
        if topic.symbol == ALL:
            return parts
        return [parts[owner_of(topic.symbol, self._workers)]]
