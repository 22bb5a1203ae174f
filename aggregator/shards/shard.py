"""What a worker does with its part of each batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.bars.engine import BarEngine
from aggregator.columns import Batch
from aggregator.feeds import Feed, Feeds
from aggregator.market import Market
from marketdata.wire import shards_pb2 as wire
from marketdata.wire.shards_pb2 import Applied, Change, End, Progress, Ticks

_MIN_ROWS = 512


class Tally:
    """Count bars that begin and end, for someone else to say when an end is complete.

    ``first`` is called when there is something to tell that was not told.
    """

    def __init__(self, first: Callable[[], None] = lambda: None) -> None:
        self.first = first
        self._changes: dict[tuple[int, int], Change] = {}

    def opened(self, interval: int, end: int, bars: int = 1) -> None:
        """Count bars."""
        if bars:
            self._change(interval, end).opened += bars

    def closed(self, interval: int, end: int, bars: int = 1) -> None:
        """Count bars that became final."""
        if bars:
            self._change(interval, end).closed += bars

    def next_complete(self, _interval: int, _clock: int) -> None:
        """Return that nothing is known of it here."""

    def take(self, clock: int) -> Progress | None:
        """Return what was not told yet, once, or None."""
        if not self._changes:
            return None
        changes, self._changes = self._changes, {}
        return Progress(changes=changes.values(), clock=clock)

    def _change(self, interval: int, end: int) -> Change:
        change = self._changes.get((interval, end))
        if change is None:
            if not self._changes:
                self.first()
            change = self._changes[interval, end] = Change(interval=interval, end=end)
        return change


class Shard:
    """Apply the ticks of some symbols."""

    def __init__(self, market: Market, feeds: Feeds) -> None:
        self._market = market
        self._feeds = feeds
        # Those that are open, by the front's number.
        self._open_feeds: dict[int, Feed] = {}
        self._engine: BarEngine = market.book.engine
        # The book's row for each of our numbers.
        self._rows = np.zeros(_MIN_ROWS, np.int32)
        self._count = 0

    def apply(self, ticks: Ticks, columns: bytes) -> Applied:
        """Apply one part."""
        for symbol in ticks.opened:
            self._open(symbol)
        count, at = ticks.count, 0
        # Copies, which lie as the loop needs them.
        found: list[NDArray[Any]] = []
        for kind in (np.int32, np.int32, np.float64, np.int64, np.int64):
            column = np.frombuffer(columns, kind, count, at) if count else np.zeros(0, kind)
            found.append(column.copy())
            at += column.nbytes
        offsets, symbols, prices, volumes, times = found
        batch = Batch(
            ticks.producer_id,
            ticks.first_sequence,
            count,
            offsets,
            self._rows[symbols],
            prices,
            volumes,
            times,
            feed=ticks.report if ticks.HasField("report") else None,
        )
        applied = self._market.apply(
            batch,
            ticks.first_sequence,
            ticks.now_ns,
            feed=self._open_feeds[ticks.feed],
            heard=(ticks.heard_first, ticks.heard_last) if ticks.heard_last else None,
        )
        return Applied(
            accepted=applied.accepted,
            sequences=[sequence for sequence, _ in applied.rejections],
            reasons=[reason for _, reason in applied.rejections],
        )

    def feed(self, message: wire.Feed) -> None:
        """Know of a stream of ticks that begins or ends at the front."""
        if message.open:
            self._open_feeds[message.number] = self._feeds.open(message.now_ns)
        else:
            self._open_feeds.pop(message.number).close(message.now_ns)

    def complete(self, ends: Iterable[End]) -> None:
        """Let those who follow bars hear that all that end there were published."""
        names = [interval.name for interval in self._engine.plan.by_clock]
        for end in ends:
            self._engine.audience.interval_completed(names[end.interval], end.end)

    def _open(self, symbol: str) -> None:
        if self._count == len(self._rows):
            self._rows = np.concatenate((self._rows, np.zeros_like(self._rows)))
        self._rows[self._count] = self._market.book.open(symbol)
        self._count += 1
