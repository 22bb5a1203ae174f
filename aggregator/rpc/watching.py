"""The calls that send updates until one side ends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from aggregator.book import Book
from aggregator.machine.inputs import Watch, WatchEnded
from aggregator.machine.journal import Journal
from aggregator.rpc.errors import Context, abort
from aggregator.watch.bar_queue import Completed
from aggregator.watch.streams import WatchStreams
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


class WatchCalls:
    """The handlers of ``StreamAggregates`` and ``Watch``."""

    def __init__(
        self, book: Book, watchers: Watchers, streams: WatchStreams, journal: Journal
    ) -> None:
        self._book = book
        self._watchers = watchers
        self._streams = streams
        self._journal = journal

    async def stream_aggregates(self, request: wire.AggregateRequest, context: Context) -> None:
        """Send the state of one symbol now, if it has one, and after every change."""
        watcher = await self._open(context)
        try:
            symbol = normalize_symbol(request.symbol)
            self._streams.watch(watcher, [symbol])
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
        stream = self._journal.new_stream()
        self._streams.attach(stream, watcher)
        changes = asyncio.create_task(self._follow(requests, stream))
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
            self._journal.submit(WatchEnded(stream))

    async def _open(self, context: Context) -> Watcher:
        # Refused before the metadata, which would show that the stream is accepted.
        try:
            return self._watchers.open()
        except MarketDataError as exc:
            await abort(context, exc)

    async def _follow(self, requests: AsyncIterator[wire.WatchRequest], stream: int) -> None:
        # Apply the requests of one Watch stream; after their end the updates go on.
        async for request in requests:
            self._journal.submit(Watch(stream, request.SerializeToString()))


def _write_markers(completed: Sequence[Completed], epoch: int) -> bytes:
    # As in an UpdateBatch.
    if not completed:
        return b""
    markers = [wire.IntervalComplete(interval=i, end=end, epoch=epoch) for i, end in completed]
    return wire.UpdateBatch(completed=markers).SerializeToString()
