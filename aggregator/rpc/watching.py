"""The calls that send updates until one side ends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

import structlog

from aggregator.book import Book
from aggregator.rpc.calls import CANCELLATION_S, ShuttingDown
from aggregator.rpc.errors import Context, abort
from aggregator.watch.holding import Holding
from aggregator.watch.streams import CannotResume, Moved, WatchStreams, watcher_id
from aggregator.watch.watcher import Updates, Watcher
from aggregator.watch.watchers import Watchers
from aggregator.wire.encoded import message_of
from marketdata.errors import MarketDataError
from marketdata.symbols import normalize_symbol
from marketdata.wire import market_data_pb2 as wire

log = structlog.get_logger()

# An Aggregate is at most 150 bytes, so a full batch is 1.5 MB of the 4 MiB a message may have.
MAX_UPDATES_PER_BATCH = 10_000
# 230 bytes each. While the reader decodes them, its other clients wait.
MAX_BARS_PER_BATCH = 2_000
_POSITION_TAG = bytes([wire.UpdateBatch.POSITION_FIELD_NUMBER << 3])


class WatchInputs(Protocol):
    """Where the changes of Watch streams go, to be applied in the order of all inputs."""

    async def watch(self, stream: int, data: bytes) -> None:
        """Apply a serialized ``WatchRequest``, now or later; waits while too much waits."""

    def watch_ended(self, stream: int) -> None:
        """Forget a stream, now or later."""


class WatchCalls:
    """The handlers of ``StreamAggregates`` and ``Watch``.

    Args:
        book: the states of all symbols.
        watchers: all streams.
        streams: the Watch streams.
        inputs: takes the changes of Watch streams.
        holding: the Watch streams that were lost.
    """

    def __init__(
        self,
        book: Book,
        watchers: Watchers,
        streams: WatchStreams,
        inputs: WatchInputs,
        holding: Holding,
    ) -> None:
        self._book = book
        self._watchers = watchers
        self._streams = streams
        self._inputs = inputs
        self._holding = holding

    async def stream_aggregates(self, request: wire.AggregateRequest, context: Context) -> None:
        """Send the state of one symbol now, if it has one, and after every change."""
        watcher = await self._open(context)
        try:
            self._streams.watch(watcher, [normalize_symbol(request.symbol)])
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
        stream = self._streams.next_number()
        self._streams.attach(stream, watcher)
        requests_ended = asyncio.Event()
        changes = asyncio.create_task(self._follow(requests, stream, watcher, requests_ended))
        is_over = False
        try:
            # The reader sees at once whether the sequences it knows are still valid.
            intervals = ",".join(i.name for i in self._book.engine.series.plan.intervals)
            await context.send_initial_metadata(
                (
                    ("epoch", str(self._book.epoch)),
                    ("intervals", intervals),
                    ("watcher-id", watcher_id(stream)),
                )
            )
            await self._send(watcher, context)
        except MarketDataError as exc:
            is_over = not isinstance(exc, ShuttingDown)
            if isinstance(exc, CannotResume):
                log.warning("watch_not_resumed", peer=context.peer(), problem=str(exc))
            await abort(context, exc)
        finally:
            changes.cancel()
            if is_over or requests_ended.is_set():
                self._holding.end(stream)
            else:
                self._holding.lose(stream)

    async def _send(self, watcher: Watcher, context: Context) -> None:
        turn = watcher.turn
        while True:
            try:
                updates = await watcher.next_updates(
                    MAX_UPDATES_PER_BATCH, MAX_BARS_PER_BATCH, turn
                )
            except Moved as exc:
                watcher = exc.watcher
                turn = watcher.turn
                log.info("watch_resumed", peer=context.peer(), waiting=watcher.waiting)
                continue
            end = _write_end(updates, self._book.epoch)
            await context.write(b"".join((*updates.states, *updates.bars, end)))

    async def _open(self, context: Context) -> Watcher:
        # Refused before the metadata, which would show that the stream is accepted.
        try:
            return self._watchers.open()
        except MarketDataError as exc:
            await abort(context, exc)

    # Passes on the requests of one Watch stream; after their end the updates go on.
    async def _follow(
        self,
        requests: AsyncIterator[wire.WatchRequest],
        stream: int,
        watcher: Watcher,
        ended: asyncio.Event,
    ) -> None:
        try:
            async for request in requests:
                if self._holding.is_taken(stream):
                    return
                if request.HasField("resume") and request.resume.epoch == self._book.epoch:
                    self._holding.take(self._streams.find(request.resume.watcher_id))
                await self._inputs.watch(stream, request.SerializeToString())
            # If the reader is lost, its call is cancelled right after.
            await asyncio.sleep(CANCELLATION_S)
            ended.set()
        except Exception as exc:
            # The handler raises it again, so the call ends with the right status.
            watcher.end(exc)


def _write_end(updates: Updates, epoch: int) -> bytes:
    # As in an UpdateBatch.
    if not updates.completed:
        return _write_position(updates.position)
    markers = [
        wire.IntervalComplete(interval=interval, end=end, epoch=epoch)
        for interval, end in updates.completed
    ]
    return wire.UpdateBatch(completed=markers, position=updates.position).SerializeToString()


# Most messages end so: 0.6 us, where the library takes 2.
def _write_position(position: int) -> bytes:
    if not position:
        return b""
    record = bytearray(_POSITION_TAG)
    while position > 0x7F:
        record.append(position & 0x7F | 0x80)
        position >>= 7
    record.append(position)
    return bytes(record)
