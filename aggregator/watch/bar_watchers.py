"""Give each stream the states of the bars it wants."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from aggregator.bars.published import PublishedBars
from aggregator.bars.series import BarSeries
from aggregator.watch.bar_queue import BarQueue, Completed
from aggregator.watch.recent import Recent
from aggregator.watch.topics import ALL, Topic
from aggregator.watch.updates import Closed, Partials
from marketdata.errors import MarketDataError

_NOBODY: frozenset[BarQueue] = frozenset()


class TooManyTopics(MarketDataError):
    """One stream asks for the bars of more topics than the limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"one stream watches at most {limit} topics of bars")
        self.limit = limit


class BarWatchers:
    """The streams that want bars, by symbol and interval; the engine calls it with changes.

    :attr:`overflows` counts the streams that read too slowly. :attr:`recent` keeps what the streams
    were sent.
    """

    def __init__(
        self,
        bars: BarSeries,
        max_topics: int,
        max_waiting: int,
        recent: Recent | None = None,
    ) -> None:
        self.bars = bars
        self.recent = Recent() if recent is None else recent
        self._max_topics = max_topics
        self.max_waiting = max_waiting
        self.overflows = 0
        self._intervals = len(bars.intervals)
        self._numbers = {name: number for number, name in enumerate(bars.intervals)}
        # The streams that want the bars of every symbol, by the number of the interval.
        self._of_all: list[set[BarQueue]] = [set() for _ in bars.intervals]
        self._by_series: dict[int, set[BarQueue]] = {}
        # Those that wait for a symbol without data, by symbol and number of the interval.
        self._awaited: dict[str, dict[int, set[BarQueue]]] = {}
        # How many topics of each interval a stream has.
        self._by_interval: dict[str, dict[BarQueue, int]] = {}
        # All streams, if each of them wants whatever another one wants; else None.
        self._everyone: list[BarQueue] | None = []

    @property
    def watched_topics(self) -> int:
        """How many topics have at least one stream."""
        awaited = sum(map(len, self._awaited.values()))
        return sum(map(bool, self._of_all)) + len(self._by_series) + awaited

    def add(self, queue: BarQueue, topics: Iterable[Topic]) -> None:
        """Send bars to a stream: their present states first, then every later one.

        Raises:
            InvalidInterval: there are no such bars.
            TooManyTopics: the stream would have more topics than the limit.
        """
        topics = list(topics)
        for topic in topics:
            self.bars.plan.interval(topic.interval)
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
            early, still_open = self.bars.present(list(series))
            position = self.recent.position()
            if early:
                bars = PublishedBars.of(early)
                self.recent.add(Closed(bars), owner=queue)
                queue.put_bars(bars, np.arange(len(bars)), position)
            # Counted for this stream, but every stream has their new sequences from now on.
            renewed = np.array(still_open, np.int64)
            self.recent.add(Partials(renewed))
            queue.put_partials(renewed, position)
            for other in set().union(*self._by_interval.values()):
                other.put_overtaken(renewed, position)

    def restore(self, queue: BarQueue, topics: Iterable[Topic]) -> None:
        """Let a stream want what it wanted before; nothing is published for it."""
        for topic in topics:
            self._add(queue, topic)
        self._find_everyone()

    # Returns the series of the topic that exist.
    def _add(self, queue: BarQueue, topic: Topic) -> Sequence[int]:
        bars, number = self.bars, self._numbers[topic.interval]
        queue.topics.add(topic)
        counts = self._by_interval.setdefault(topic.interval, {})
        counts[queue] = counts.get(queue, 0) + 1
        if topic.symbol == ALL:
            if not self._of_all[number]:
                bars.want_all(number, True)
            self._of_all[number].add(queue)
            return bars.of_all(number)
        if (series := bars.number(topic.symbol, topic.interval)) is None:
            self._awaited.setdefault(topic.symbol, {}).setdefault(number, set()).add(queue)
            return ()
        if series not in self._by_series:
            bars.want(series, True)
        self._by_series.setdefault(series, set()).add(queue)
        return (series,)

    def close(self, queue: BarQueue) -> None:
        """Remove a stream."""
        self.remove(queue, list(queue.topics))

    def remove(self, queue: BarQueue, topics: Iterable[Topic]) -> None:
        """Stop sending these bars to a stream, also those that wait."""
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
        bars, number = self.bars, self._numbers[topic.interval]
        if topic.symbol == ALL:
            self._of_all[number].discard(queue)
            if not self._of_all[number]:
                bars.want_all(number, False)
        elif (series := bars.number(topic.symbol, topic.interval)) is None:
            _discard(self._awaited[topic.symbol], number, queue)
            if not self._awaited[topic.symbol]:
                del self._awaited[topic.symbol]
        else:
            _discard(self._by_series, series, queue)
            if series not in self._by_series:
                bars.want(series, False)

    def _find_everyone(self) -> None:
        queues = set().union(*self._by_interval.values())
        of_all = [wanting for wanting in self._of_all if wanting]
        named = self._by_series or self._awaited
        same = not named and all(wanting == queues for wanting in of_all)
        self._everyone = list(queues) if same or len(queues) <= 1 else None

    def of(self, series: int) -> Collection[BarQueue]:
        """Return the streams that want a series."""
        of_all, own = self._of_all[series % self._intervals], self._by_series.get(series)
        if own is None:
            return of_all
        return of_all | own if of_all else own

    # The engine calls these.

    def opened(self, symbol: str, row: int) -> Iterable[int]:
        """Return the intervals for which a stream waits for the bars of a new symbol."""
        awaited = self._awaited.pop(symbol, {})
        for number, queues in awaited.items():
            self._by_series[row * self._intervals + number] = queues
        return awaited

    def partials_changed(self, series: NDArray[np.int64]) -> None:
        """Queue the newest states of open bars for each stream that wants them."""
        position = self.recent.position()
        self.recent.add(Partials(series))
        if self._everyone is not None:
            for queue in self._everyone:
                queue.put_partials(series, position)
            return
        shares: dict[BarQueue, list[int]] = {}
        for each in series.tolist():
            for queue in self.of(each):
                shares.setdefault(queue, []).append(each)
        for queue, own in shares.items():
            queue.put_partials(np.array(own, np.int64), position)

    def bars_published(self, bars: PublishedBars) -> None:
        """Queue states for each stream that wants them."""
        position = self.recent.position()
        self.recent.add(Closed(bars))
        if self._everyone is not None:
            for queue in self._everyone:
                queue.put_bars(bars, np.arange(len(bars)), position)
            return
        for queue, indexes in self._shares(bars.series).items():
            queue.put_bars(bars, indexes, position)

    # Returns for each stream that wants some of them their indexes.
    def _shares(self, series: NDArray[np.int64]) -> dict[BarQueue, NDArray[np.int64]]:
        shares: dict[BarQueue, list[int]] = {}
        numbers = series % self._intervals
        for number, of_all in enumerate(self._of_all):
            if of_all:
                found = np.flatnonzero(numbers == number).tolist()
                for queue in of_all:
                    shares.setdefault(queue, []).extend(found)
        if self._by_series:
            for index, each in enumerate(series.tolist()):
                for queue in (
                    self._by_series.get(each, _NOBODY) - self._of_all[each % self._intervals]
                ):
                    shares.setdefault(queue, []).append(index)
        return {
            queue: np.array(sorted(indexes), np.int64)
            for queue, indexes in shares.items()
            if indexes
        }

    def interval_completed(self, interval: str, end: int) -> None:
        """Queue a marker for each stream that wants bars of the interval."""
        completed = Completed(interval, end)
        position = self.recent.position()
        queues = self._by_interval.get(interval, {})
        if queues:
            self.recent.add(completed)
        for queue in queues:
            queue.put_completed(completed, position)

    def put_again(self, queue: BarQueue, update: Closed | Partials | Completed, at: int) -> None:
        """Queue what a stream wants of an update that came while it was lost.

        Args:
            queue: of the stream.
            update: the update.
            at: its position.
        """
        match update:
            case Closed(bars):
                wanted = self._shares(bars.series).get(queue)
                if wanted is not None:
                    queue.put_bars(bars, wanted, at)
            case Partials(series):
                own = [each for each in series.tolist() if queue in self.of(each)]
                queue.put_partials(np.array(own, np.int64), at)
            case Completed(interval):
                if queue in self._by_interval.get(interval, {}):
                    queue.put_completed(update, at)


def _discard(queues: dict[int, set[BarQueue]], key: int, queue: BarQueue) -> None:
    # Without leaving an empty set.
    queues[key].discard(queue)
    if not queues[key]:
        del queues[key]
