"""Send batches to the aggregator over one PublishTicks stream, again after every loss."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from functools import partial
from random import Random

import grpc
import structlog

from ingest.ring import BatchRing, UnexpectedAck
from ingest.scheduler import BatchScheduler
from marketdata.streams import StreamOver, keep_stream
from marketdata.summary import DropSummary
from marketdata.wire import market_data_pb2 as wire

log = structlog.get_logger()

# How long the aggregator may take to end the stream with us.
END_TIMEOUT_S = 1.0

PUBLISH_TICKS = "/marketdata.MarketDataService/PublishTicks"

Publish = grpc.aio.StreamStreamMultiCallable[bytes, wire.BatchAck]
Call = grpc.aio.StreamStreamCall[bytes, wire.BatchAck]


class Publisher:
    """Send closed batches in order, and take the acks.

    Args:
        ring: holds the batches.
        scheduler: closes them, and acts on acks.
        channel: to the aggregator.
        aggregator: its address.
        drops: counts the ticks that the aggregator rejects.
        random: the jitter between attempts.
    """

    def __init__(
        self,
        ring: BatchRing,
        scheduler: BatchScheduler,
        *,
        channel: grpc.aio.Channel,
        aggregator: str,
        drops: DropSummary,
        random: Random,
    ) -> None:
        self._ring = ring
        self._scheduler = scheduler
        self._channel = channel
        self._aggregator = aggregator
        self._drops = drops
        self._random = random
        self._call: Call | None = None
        self._is_ending = False

    async def run(self) -> None:
        """Keep a stream open until cancelled; log once when it is lost and when it is back."""
        publish: Publish = self._channel.stream_stream(
            PUBLISH_TICKS, response_deserializer=wire.BatchAck.FromString
        )
        # Two small batches may be unacked, so each need not be acked at once.
        metadata = (("delayed-acks", self._ring.producer_id),)
        await keep_stream(
            partial(publish, metadata=metadata), self._carry, self._log_loss, self._random
        )

    async def end(self) -> None:
        """End the stream in order, so that the aggregator does not take us for lost."""
        self._is_ending = True
        if self._call is not None:
            with contextlib.suppress(
                TimeoutError, grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError
            ):
                async with asyncio.timeout(END_TIMEOUT_S):
                    await self._call.done_writing()
                    await self._call.code()

    async def _carry(self, call: Call) -> None:
        # Ends with the stream's error.
        log.info(
            "aggregator_connected",
            aggregator=self._aggregator,
            waiting_ticks=self._ring.unacked_ticks,
        )
        self._scheduler.stream_opened()
        self._call = call
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send(call))
                tasks.create_task(self._receive(call))
        finally:
            self._call = None
            self._scheduler.stream_lost()

    def _log_loss(self, code: grpc.StatusCode, details: str) -> None:
        if self._is_ending:
            # So no other stream is opened.
            raise asyncio.CancelledError
        log.warning(
            "aggregator_lost",
            aggregator=self._aggregator,
            code=code.name,
            details=details,
            waiting_ticks=self._ring.unacked_ticks,
        )

    async def _send(self, call: Call) -> None:
        batch_closed = self._scheduler.batch_closed
        while True:
            batch_closed.clear()
            while (batch := self._ring.next_unsent()) is not None:
                await call.write(batch.data)
            await batch_closed.wait()

    async def _receive(self, call: Call) -> None:
        while isinstance(ack := await call.read(), wire.BatchAck):
            if ack.rejections:
                self._drops.add(Counter(rejection.reason for rejection in ack.rejections))
            try:
                acked = self._ring.acknowledge(ack.last_sequence)
            except UnexpectedAck as exc:
                log.error("unexpected_ack", error=str(exc))  # noqa: TRY400  the error says all
                break
            self._scheduler.aggregator_load = ack.load_percent / 100
            owner = acked[0].owner if acked else None
            if owner is None:
                self._scheduler.batch_acked()
            else:
                owner.batch_acked(acked[0], ack)
                self._scheduler.room_made()
        raise StreamOver
