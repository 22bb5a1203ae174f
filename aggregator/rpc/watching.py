"""The calls that send updates until one side ends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence

from aggregator.book import Book
from aggregator.rpc.errors import Context, abort
from aggregator.watch.bar_queue import Completed
from aggregator.watch.topics import read_topics
from aggregator.watch.watcher import Watcher
from aggregator.watch.watchers import Watchers
from aggregator.wire.encoded import message_of
from marketdata.errors import MarketDataError
from marketdata.symbols import normalize_symbol
from marketdata.wire import market_data_pb2 as wire

# An Aggregate is at most 150 bytes, so a full batch is 1.5 MB of the 4 MiB a message may have.
MAX_UPDATES_PER_BATCH = 10_000
# 230 bytes each. While the reader decodes them, its other clients wait.
MAX_BARS_PER_BATCH = 2_000
# The states that may wait for one Watch stream with a buffer: 300 bytes each, 20 MB.
MAX_BUFFERED_UPDATES = 65_536


class WatchCalls:
    """The handlers of ``StreamAggregates`` and ``Watch``."""

    def __init__(self, book: Book, watchers: Watchers) -> None:
        self._book = book
        self._watchers = watchers

    async def stream_aggregates(self, request: wire.AggregateRequest, context: Context) -> None:
        """Send the state of one symbol now, if it has one, and after every change."""
        watcher = await self._open(context)
        try:
            symbol = normalize_symbol(request.symbol)
            self._watch(watcher, [symbol])
            await context.send_initial_metadata(())
            while True:
                (state,) = await watcher.next_states(1)
                await context.write(message_of(state))
        except MarketDataError as exc:
            await abort(context, exc)
        finally:
            self._watchers.close(watcher)

    async def watch(self, requests: AsyncIterator[wire.WatchRequest], context: Context) -> None:
        """Send the states of a changing set of symbols, as fast as the stream takes them."""
        watcher = await self._open(context)
        changes = asyncio.create_task(self._follow(requests, watcher))
        try:
            # The reader sees at once whether the sequences it knows are still valid.
            epoch = self._book.epoch
            intervals = ",".join(i.name for i in self._book.engine.series.plan.intervals)
            await context.send_initial_metadata((("epoch", str(epoch)), ("intervals", intervals)))
            while True:
                updates = await watcher.next_updates(MAX_UPDATES_PER_BATCH, MAX_BARS_PER_BATCH)
                markers = _write_markers(updates.completed, epoch)
                await context.write(b"".join((*updates.states, *updates.bars, markers)))
        except MarketDataError as exc:
            await abort(context, exc)
        finally:
            changes.cancel()
            self._watchers.close(watcher)

    async def _open(self, context: Context) -> Watcher:
        # Refused before the metadata, which would show that the stream is accepted.
        try:
            return self._watchers.open()
        except MarketDataError as exc:
            await abort(context, exc)

    async def _follow(self, requests: AsyncIterator[wire.WatchRequest], watcher: Watcher) -> None:
        # Apply the requests of one Watch stream; after their end the updates go on.
        try:
            async for request in requests:
                if request.HasField("buffer"):
                    watcher.buffer(min(request.buffer, MAX_BUFFERED_UPDATES))
                self._watchers.unwatch(watcher, map(normalize_symbol, request.remove))
                if request.HasField("all"):
                    self._watchers.watch_all(watcher, request.all)
                    if request.all:
                        self._mark(watcher, self._book.symbols())
                self._watch(watcher, list(map(normalize_symbol, request.add)))
                bars = self._watchers.bars
                bars.remove(watcher.bars, read_topics(request.remove_bars))
                bars.add(watcher.bars, read_topics(request.add_bars))
        except Exception as exc:
            # The handler raises it again, so the call ends with the right status.
            watcher.end(exc)

    def _watch(self, watcher: Watcher, symbols: list[str]) -> None:
        self._watchers.watch(watcher, symbols)
        # No await between the two, so no change is lost between the present state and later ones.
        self._mark(watcher, symbols)

    def _mark(self, watcher: Watcher, symbols: Iterable[str]) -> None:
        # A symbol has a row but no state if all its ticks were between two sessions.
        rows = (self._book.row(symbol) for symbol in symbols)
        watcher.mark([row for row in rows if row is not None and self._book.has_state(row)])


def _write_markers(completed: Sequence[Completed], epoch: int) -> bytes:
    # As in an UpdateBatch.
    if not completed:
        return b""
    markers = [wire.IntervalComplete(interval=i, end=end, epoch=epoch) for i, end in completed]
    return wire.UpdateBatch(completed=markers).SerializeToString()
