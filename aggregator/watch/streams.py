"""What each Watch stream wants: applied in the order of all inputs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf.message import DecodeError

from aggregator.book import Book
from aggregator.watch.topics import Topic, read_topics
from aggregator.watch.watcher import Watcher
from aggregator.watch.watchers import Watchers
from marketdata.errors import MarketDataError
from marketdata.symbols import normalize_symbol
from marketdata.wire import market_data_pb2 as wire

# The states that may wait for one Watch stream with a buffer: 300 bytes each, 20 MB.
MAX_BUFFERED_UPDATES = 65_536


class WatchStreams:
    """The Watch streams by number.

    Which bars are wanted decides which of their states are counted, so requests are inputs. In a
    replay no reader is there; then an absent watcher wants the same.
    """

    def __init__(self, book: Book, watchers: Watchers) -> None:
        self._book = book
        self._watchers = watchers
        self._by_stream: dict[int, Watcher] = {}

    def attach(self, stream: int, watcher: Watcher) -> None:
        """Let a reader have what its stream will want; call it before the first request."""
        self._by_stream[stream] = watcher

    def apply(self, stream: int, data: bytes) -> None:
        """Apply a serialized ``WatchRequest``; an invalid one ends its stream."""
        watcher = self._by_stream.get(stream)
        if watcher is None:
            watcher = self._by_stream[stream] = self._watchers.open_absent()
        try:
            self._apply(watcher, wire.WatchRequest.FromString(data))
        except (MarketDataError, DecodeError) as exc:
            # The handler of the call raises it again, so the call ends with the right status.
            watcher.end(exc)

    def _apply(self, watcher: Watcher, request: wire.WatchRequest) -> None:
        if request.HasField("buffer"):
            watcher.buffer(min(request.buffer, MAX_BUFFERED_UPDATES))
        self._watchers.unwatch(watcher, map(normalize_symbol, request.remove))
        if request.HasField("all"):
            self._watchers.watch_all(watcher, request.all)
            if request.all:
                self._mark(watcher, self._book.symbols())
        self.watch(watcher, list(map(normalize_symbol, request.add)))
        bars = self._watchers.bars
        bars.remove(watcher.bars, read_topics(request.remove_bars))
        bars.add(watcher.bars, read_topics(request.add_bars))

    def watch(self, watcher: Watcher, symbols: list[str]) -> None:
        """Let a watcher have the present states of symbols, and all later ones."""
        self._watchers.watch(watcher, symbols)
        self._mark(watcher, symbols)

    def end(self, stream: int) -> None:
        """Forget a stream."""
        watcher = self._by_stream.pop(stream, None)
        if watcher is not None:
            self._watchers.close(watcher)

    def end_all(self) -> None:
        """Forget the streams of a process that is gone."""
        for stream in list(self._by_stream):
            self.end(stream)

    def dump_state(self) -> list[Any]:
        """Return what each stream wants, in the order of the streams."""
        return [
            [
                stream,
                watcher.watches_all,
                sorted(watcher.symbols),
                sorted(map(list, watcher.bars.topics)),
            ]
            for stream, watcher in self._by_stream.items()
        ]

    def load_state(self, state: list[Any]) -> None:
        """Want what the streams of another process wanted; no state is counted."""
        for stream, watches_all, symbols, topics in state:
            watcher = self._by_stream[stream] = self._watchers.open_absent()
            self._watchers.watch(watcher, symbols)
            if watches_all:
                self._watchers.watch_all(watcher, True)
            self._watchers.bars.restore(watcher.bars, (Topic(*topic) for topic in topics))

    def _mark(self, watcher: Watcher, symbols: Iterable[str]) -> None:
        # A symbol has a row but no state if all its ticks were between two sessions.
        rows = (self._book.row(symbol) for symbol in symbols)
        watcher.mark([row for row in rows if row is not None and self._book.has_state(row)])
