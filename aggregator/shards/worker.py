"""One worker: the aggregator of some symbols, behind the front."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path

import grpc
import structlog

from aggregator.core import Core, Share
from aggregator.malformed import RefuseMalformed
from aggregator.service import WRITES_BYTES
from aggregator.settings import AggregatorSettings
from aggregator.shards.frames import make_frame
from aggregator.shards.lane import Lane
from aggregator.shards.shard import Shard, Tally
from aggregator.undecoded import LeaveUndecoded
from marketdata.channel import MAX_MESSAGE_BYTES
from marketdata.errors import StartError
from marketdata.wire import market_data_pb2_grpc
from marketdata.wire.shards_pb2 import FromWorker, Progress, Start, Totals, ToWorker
from marketdata.workers import Worker

log = structlog.get_logger()

ADDRESS_SCHEME = "unix:"
_OPTIONS = [
    ("grpc.maxreceive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
]


class ShardWorker:
    """One running worker."""

    def __init__(self, lane: Lane, start: Start) -> None:
        self._lane = lane
        self._address = start.address
        self._tally = Tally(self._tell_soon)
        share = Share(start.number, start.workers, start.epoch, self._tally)
        settings = AggregatorSettings.model_validate_json(start.settings)
        self._core = Core(settings, time.time_ns, self._tell_store, share)
        self._shard = Shard(self._core.market, self._core.feeds)
        self._engine = self._core.market.book.engine
        self._server = grpc.aio.server(
            # Ticks come over the lane.
            interceptors=[
                RefuseMalformed(),
                LeaveUndecoded(requests=frozenset(), responses=WRITES_BYTES),
            ],
            options=_OPTIONS,
        )
        # Whether to end in order; set when the worker is to end.
        self.end: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._failure: Exception | None = None
        lane.received = self.receive
        lane.ended = lambda: self._end(False)

    async def start(self) -> None:
        """Serve, and say so.

        Raises:
            StartError: the socket cannot be made.
        """
        market_data_pb2_grpc.add_MarketDataServiceServicer_to_server(
            self._core.service, self._server
        )
        try:
            self._server.add_insecure_port(self._address)
        except RuntimeError as exc:
            raise StartError(f"cannot listen on {self._address}") from exc
        await self._core.restore()
        await self._server.start()
        self._core.start()
        self._send(FromWorker(ready=True, progress=self._tally.take(self._engine.clock)))

    async def stop(self, *, in_order: bool) -> None:
        """Stop; what is open is stored only if every batch was answered."""
        await self._server.stop(0)
        await self._core.stop(keep_open=in_order)
        counts = self._engine.counts
        totals = Totals(
            late=counts.late, bars_late=counts.bars_late, out_of_session=counts.out_of_session
        )
        self._send(FromWorker(totals=totals))
        self._lane.close()
        await self._lane.wait_closed()
        if not in_order:
            self._remove_socket()
        if self._failure is not None:
            raise self._failure

    def receive(self, head: bytes, columns: bytes) -> None:
        """Do what the front says."""
        try:
            self._handle(ToWorker.FromString(head), columns)
        except Exception as exc:
            # From here on the numbers would be wrong.
            self._failure = exc
            self._end(False)

    def _handle(self, message: ToWorker, columns: bytes) -> None:
        if self.end.done():
            return
        match message.WhichOneof("kind"):
            case "ticks":
                applied = self._shard.apply(message.ticks, columns)
                clock = self._engine.clock
                progress = self._tally.take(clock) or Progress(clock=clock)
                self._send(FromWorker(applied=applied, progress=progress))
            case "feed":
                self._shard.feed(message.feed)
            case "completed":
                self._shard.complete(message.completed.ends)
            case "stop":
                self._end(True)

    def _end(self, in_order: bool) -> None:
        if not self.end.done():
            self.end.set_result(in_order)

    def _tell_soon(self) -> None:
        # What a batch does goes with its answer; this is for the clock.
        asyncio.get_running_loop().call_soon(self._tell_progress)

    def _tell_progress(self) -> None:
        progress = self._tally.take(self._engine.clock)
        if progress is not None:
            self._send(FromWorker(progress=progress))

    def _tell_store(self, works: bool) -> None:
        self._send(FromWorker(store_works=works))

    def _send(self, message: FromWorker) -> None:
        self._lane.send(make_frame(message.SerializeToString()))

    def _remove_socket(self) -> None:
        # The front is gone or in a hurry; the last of us removes the directory.
        path = Path(self._address.removeprefix(ADDRESS_SCHEME))
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
            path.parent.rmdir()


async def main(worker: Worker) -> int:
    """Run until the front says so or is gone, then exit; return a code if it never began.

    Raises:
        StartError: it cannot serve.
    """
    structlog.contextvars.bind_contextvars(worker=worker.number)
    lane = Lane()
    received: list[tuple[bytes, bytes]] = []
    heard = asyncio.Event()

    def receive(head: bytes, columns: bytes) -> None:
        received.append((head, columns))
        heard.set()

    lane.received, lane.ended = receive, heard.set
    await lane.open(worker.parent)
    await heard.wait()
    if not received:
        return 1
    process = ShardWorker(lane, ToWorker.FromString(received[0][0]).start)
    for head, columns in received[1:]:
        # It was told to end while it began.
        process.receive(head, columns)
    await process.start()
    in_order = await process.end
    if not in_order:
        log.warning("the front is gone, open bars are not stored")
    await process.stop(in_order=in_order)
    # Everything is closed. To take itself apart would cost the interpreter a second, and with all
    # workers at once on a small machine several.
    os._exit(0 if in_order else 1)
