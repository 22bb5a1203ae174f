"""What each Watch stream wants: applied in the order of all inputs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
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
# Of so many streams that were taken over the successor is remembered.
MAX_SUCCESSORS = 1_000


class CannotResume(MarketDataError):
    """A stream cannot go on where an earlier one was lost: updates are missing."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"the stream cannot be resumed: {problem}; begin with a snapshot")


class Moved(MarketDataError):
    """A stream goes on with the watcher of the stream that it resumed."""

    def __init__(self, watcher: Watcher) -> None:
        super().__init__("the stream was resumed")
        self.watcher = watcher


class WatchStreams:
    """The Watch streams by number.

    Which bars are wanted decides which of their states are counted, so requests are inputs: the
    same requests in the same order make the same states, live and in a replay. In a replay no
    reader is there: the streams are held, and their updates are kept for readers that come back.
    """

    def __init__(self, book: Book, watchers: Watchers) -> None:
        self._book = book
        self._watchers = watchers
        self._by_stream: dict[int, Watcher] = {}
        # The streams that took over from others: a reader may not have heard that it was resumed.
        self._successors: dict[int, int] = {}
        # The highest number so far.
        self._last = 0

    def __contains__(self, stream: int) -> bool:
        return stream in self._by_stream

    def __iter__(self) -> Iterator[int]:
        return iter(list(self._by_stream))

    def find(self, name: str) -> int:
        """Return the stream that has the topics of a ``watcher-id``; -1: it never had one."""
        stream = int(name) if name.isascii() and name.isdecimal() else -1
        return self._successors.get(stream, stream)

    def next_number(self) -> int:
        """Return a number that no stream has had."""
        self._last += 1
        return self._last

    def attach(self, stream: int, watcher: Watcher) -> None:
        """Let a reader have what its stream will want; call it before the first request."""
        self._by_stream[stream] = watcher

    def apply(self, stream: int, data: bytes) -> None:
        """Apply a serialized ``WatchRequest``; an invalid one ends its stream.

        With ``resume`` the stream takes over the topics of the lost one, whose number is free then.
        """
        self._last = max(self._last, stream)
        watcher = self._by_stream.get(stream)
        if watcher is None:
            watcher = self._by_stream[stream] = self._watchers.open()
            watcher.hold()
        try:
            request = wire.WatchRequest.FromString(data)
            if request.HasField("resume"):
                watcher = self._resume(stream, watcher, request.resume)
            self._apply(watcher, request)
        except (MarketDataError, DecodeError) as exc:
            # The handler of the call raises it again, so the call ends with the right status.
            watcher.end(exc)

    def show(self, stream: int, data: bytes) -> None:
        """Send the states that a request adds before it is an input; these are not counted by it.

        Bars wait: which of them are wanted changes their sequences.
        """
        watcher = self._by_stream.get(stream)
        if watcher is not None:
            with contextlib.suppress(MarketDataError, DecodeError):
                request = wire.WatchRequest.FromString(data)
                early = wire.WatchRequest(add=request.add, add_buffered=request.add_buffered)
                if request.HasField("all"):
                    early.all = request.all
                if not request.HasField("resume"):
                    self._apply(watcher, early)

    def hold(self, stream: int) -> None:
        """Keep what a stream wants although its reader is lost."""
        watcher = self._by_stream.get(stream)
        if watcher is not None:
            watcher.hold()

    def end(self, stream: int) -> None:
        """Forget a stream."""
        watcher = self._by_stream.pop(stream, None)
        if watcher is not None:
            self._watchers.close(watcher)
            for lost in [each for each, last in self._successors.items() if last == stream]:
                del self._successors[lost]

    def is_worth_holding(self, stream: int) -> bool:
        """Return whether a later stream could go on where this one is lost."""
        watcher = self._by_stream.get(stream)
        return watcher is not None and watcher.keeps

    def dump_state(self) -> dict[str, Any]:
        """Return what each stream wants, in the order of the streams, and what they were sent."""
        wanted = [
            {
                "stream": stream,
                "buffer": watcher.states.max_buffered,
                "buffer_all": watcher.states.buffers_all,
                "buffered": sorted(watcher.buffered),
                "all": watcher.watches_all,
                "symbols": sorted(watcher.symbols),
                "topics": sorted(map(list, watcher.bars.topics)),
            }
            for stream, watcher in self._by_stream.items()
        ]
        numbers = {watcher.bars: stream for stream, watcher in self._by_stream.items()}
        return {
            "last": self._last,
            "wanted": wanted,
            "successors": list(map(list, self._successors.items())),
            "recent": self._watchers.recent.dump_state(numbers),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Hold the streams of another process; no state is counted."""
        self._last = state["last"]
        for wanted in state["wanted"]:
            watcher = self._by_stream[wanted["stream"]] = self._watchers.open()
            watcher.hold()
            watcher.buffer(wanted["buffer"])
            # A state that an earlier version saved has these not: all symbols are buffered.
            self._watchers.buffer_all(watcher, wanted.get("buffer_all", True))
            self._watchers.buffer(watcher, wanted.get("buffered", ()))
            self._watchers.watch(watcher, wanted["symbols"])
            self._watchers.watch_all(watcher, wanted["all"])
            topics = (Topic(*topic) for topic in wanted["topics"])
            self._watchers.bars.restore(watcher.bars, topics)
        self._successors = dict(state["successors"])
        owners = {stream: watcher.bars for stream, watcher in self._by_stream.items()}
        self._watchers.recent.load_state(state["recent"], owners)

    # Returns the watcher that the stream has from now on.
    def _resume(self, stream: int, own: Watcher, resume: wire.WatchResume) -> Watcher:
        if resume.epoch != self._book.epoch:
            raise CannotResume(f"the epoch is {self._book.epoch}")
        lost = self.find(resume.watcher_id)
        watcher = self._by_stream.get(lost)
        if watcher is None or lost == stream or not watcher.keeps:
            raise CannotResume(f"there is no watcher {resume.watcher_id!r}")
        del self._by_stream[lost]
        self._by_stream[stream] = watcher
        self._succeed(lost, stream)
        has_reader = not own.is_held
        watcher.hold()
        if has_reader:
            if self._watchers.resume(watcher, resume.position):
                own.end(Moved(watcher))
            else:
                own.end(CannotResume(f"the updates after {resume.position} are gone"))
        self._watchers.close(own)
        return watcher

    def _succeed(self, lost: int, stream: int) -> None:
        successors = self._successors
        for each, last in successors.items():
            if last == lost:
                successors[each] = stream
        successors[lost] = stream
        if len(successors) > MAX_SUCCESSORS:
            del successors[next(iter(successors))]

    def _apply(self, watcher: Watcher, request: wire.WatchRequest) -> None:
        if request.HasField("buffer"):
            watcher.buffer(min(request.buffer, MAX_BUFFERED_UPDATES))
        # First, so that the states of what is added wait as they should.
        if request.HasField("buffer_all"):
            self._watchers.buffer_all(watcher, request.buffer_all)
        if request.remove_buffered:
            self._watchers.unbuffer(watcher, map(normalize_symbol, request.remove_buffered))
        self._watchers.buffer(watcher, map(normalize_symbol, request.add_buffered))
        self._watchers.unwatch(watcher, map(normalize_symbol, request.remove))
        if request.HasField("all"):
            is_new = request.all and not watcher.watches_all
            self._watchers.watch_all(watcher, request.all)
            if is_new:
                self._mark(watcher, self._book.symbols())
        self.watch(watcher, list(map(normalize_symbol, request.add)))
        bars = self._watchers.bars
        bars.remove(watcher.bars, read_topics(request.remove_bars))
        bars.add(watcher.bars, read_topics(request.add_bars))

    def watch(self, watcher: Watcher, symbols: list[str]) -> None:
        """Let a watcher have the present states of new symbols, and all later ones."""
        # No await between the two, so no change is lost between the present state and later ones.
        self._mark(watcher, self._watchers.watch(watcher, symbols))

    def _mark(self, watcher: Watcher, symbols: Iterable[str]) -> None:
        # A symbol has a row but no state if all its ticks were between two sessions.
        rows = (self._book.row(symbol) for symbol in symbols)
        self._watchers.mark_present(
            watcher, [row for row in rows if row is not None and self._book.has_state(row)]
        )


def watcher_id(stream: int) -> str:
    """Return what a reader calls its stream when it comes back."""
    return str(stream)
