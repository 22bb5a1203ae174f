"""An aggregator that records what it is sent and acks when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc

from marketdata.channel import server_options
from marketdata.wire import market_data_pb2 as wire
from marketdata.wire import market_data_pb2_grpc


class RecordingAggregator(market_data_pb2_grpc.MarketDataServiceServicer):
    """Keeps every batch of ticks; their acks wait while :meth:`withhold_acks` is on."""

    def __init__(self) -> None:
        self.batches: asyncio.Queue[wire.TickBatch] = asyncio.Queue()
        self.reports: asyncio.Queue[wire.FeedReport] = asyncio.Queue()
        # What was acked, by producer.
        self.last_sequences: dict[str, int] = {}
        self._acking = asyncio.Event()
        self._acking.set()
        self._postponing = False
        self._breaking = asyncio.Event()
        self._later: list[asyncio.Task[None]] = []
        self.port = 0

    def withhold_acks(self) -> None:
        """Read one batch per stream and say nothing."""
        self._acking.clear()

    def release_acks(self) -> None:
        """Ack what was read and go on."""
        self._acking.set()

    def break_streams(self) -> None:
        """End the stream of which an ack is withheld, with an error; the next one goes on."""
        self._breaking.set()

    def postpone_acks(self) -> None:
        """Read on, and ack all of it when :meth:`release_acks` is called."""
        self._postponing = True
        self._acking.clear()

    async def PublishTicks(  # type: ignore[override]  # noqa: N802
        self, request_iterator: AsyncIterator[wire.TickBatch], context: Any
    ) -> None:
        await context.send_initial_metadata(())
        # Acks are written in the order of the batches.
        lock = asyncio.Lock()
        async for batch in request_iterator:
            if batch.HasField("feed"):
                self.reports.put_nowait(batch.feed)
            if batch.ticks:
                self.batches.put_nowait(batch)
                if not self._postponing:
                    await self._until_acking(context)
            last = batch.first_sequence + len(batch.ticks) - 1
            ack = wire.BatchAck(last_sequence=last, accepted=len(batch.ticks))
            self.last_sequences[batch.producer_id] = last
            if self._postponing and (batch.ticks or lock.locked()):
                self._later.append(asyncio.create_task(self._write_later(context, ack, lock)))
            else:
                await context.write(ack)
        await asyncio.gather(*self._later)

    async def GetProducer(self, request: wire.ProducerStateRequest, context: Any) -> Any:  # noqa: N802
        last_sequence = self.last_sequences.get(request.producer_id, 0)
        return wire.ProducerState(last_sequence=last_sequence)

    async def _until_acking(self, context: Any) -> None:
        waits = [asyncio.create_task(event.wait()) for event in (self._acking, self._breaking)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self._breaking.is_set():
            self._breaking.clear()
            await context.abort(grpc.StatusCode.UNAVAILABLE, "broken")

    async def _write_later(self, context: Any, ack: wire.BatchAck, lock: asyncio.Lock) -> None:
        async with lock:
            await self._acking.wait()
            await context.write(ack)


@contextlib.asynccontextmanager
async def run_recording_aggregator() -> AsyncIterator[RecordingAggregator]:
    """Run a recording aggregator for the time of the context."""
    aggregator = RecordingAggregator()  # type: ignore[abstract]  # it serves two methods
    server = grpc.aio.server(options=server_options())
    market_data_pb2_grpc.add_MarketDataServiceServicer_to_server(aggregator, server)
    aggregator.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield aggregator
    finally:
        await server.stop(0)
