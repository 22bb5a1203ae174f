"""The server side of producer sessions, as plain as possible: a model of ingest and aggregator."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from struct import pack, unpack_from

from marketdata.wire.market_data_pb2 import Rejection, Tick, TickBatch
from marketdata.wire.producer_pb2 import (
    IngestMessage,
    ProducerAck,
    ProducerError,
    ProducerMessage,
    ProducerWelcome,
)

MAGIC = b"MDS2"


def frame_of(message: IngestMessage | ProducerMessage) -> bytes:
    """Return ``message`` as a frame."""
    payload = message.SerializeToString()
    return pack(">I", len(payload)) + payload


def error_frame(reason: str, detail: str = "because") -> bytes:
    """Return the frame that ends a session."""
    return frame_of(IngestMessage(error=ProducerError(reason=reason, detail=detail)))


def is_bad(tick: Tick) -> str | None:
    """Return why a tick is rejected."""
    return None if tick.price > 0 else "price_not_positive"


@dataclass
class Ledger:
    """What the server knows of producers; it outlives every connection."""

    last_sequences: dict[str, int] = field(default_factory=dict)
    applied: list[Tick] = field(default_factory=list)
    # The size of each batch by its first sequence: one that is sent again must have the same.
    boundaries: dict[tuple[str, int], int] = field(default_factory=dict)
    largest_batch: int = 0

    def apply(self, producer_id: str, batch: TickBatch) -> ProducerAck:
        """Apply what is new and return the ack."""
        count = len(batch.ticks)
        first, last = batch.first_sequence, batch.first_sequence + count - 1
        assert count
        known = self.last_sequences.get(producer_id, 0)
        # Ingest takes no gap, except from a producer that it does not know.
        assert not known or first <= known + 1
        if first > known:
            self.boundaries[producer_id, first] = count
        assert self.boundaries[producer_id, first] == count
        self.largest_batch = max(self.largest_batch, count)
        ack = ProducerAck(last_sequence=last)
        for sequence, tick in enumerate(batch.ticks, first):
            if (reason := is_bad(tick)) is not None:
                ack.rejections.append(Rejection(sequence=sequence, reason=reason))
            elif sequence <= known:
                ack.duplicates += 1
            else:
                ack.accepted += 1
                self.applied.append(tick)
        self.last_sequences[producer_id] = max(known, last)
        return ack


class ServerSide:
    """One connection: bytes in, bytes out."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.producer_id = ""
        # Batches that were received and not yet applied.
        self.batches: list[TickBatch] = []
        self._received = b""
        self._began = False

    def receive(self, data: bytes) -> bytes:
        """Return the answer to a hello; batches wait."""
        self._received += data
        answer = b""
        if not self._began:
            if len(self._received) < len(MAGIC):
                return b""
            assert self._received.startswith(MAGIC)
            self._received = self._received[len(MAGIC) :]
            self._began = True
        while len(self._received) >= 4:
            (size,) = unpack_from(">I", self._received)
            if len(self._received) < 4 + size:
                break
            message = ProducerMessage.FromString(self._received[4 : 4 + size])
            self._received = self._received[4 + size :]
            if message.WhichOneof("message") == "hello":
                assert not self.producer_id
                self.producer_id = message.hello.producer_id
                last = self.ledger.last_sequences.get(self.producer_id, 0)
                answer += frame_of(IngestMessage(welcome=ProducerWelcome(last_sequence=last)))
            else:
                self.batches.append(message.batch)
        return answer

    def apply_next(self) -> bytes:
        """Apply one batch and return its ack."""
        ack = self.ledger.apply(self.producer_id, self.batches.pop(0))
        return frame_of(IngestMessage(ack=ack))


class SessionServer:
    """The model on a port."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.port = 0
        self.connections = 0
        # Batches are applied while this is set.
        self.answering = asyncio.Event()
        self.answering.set()
        # Sent in place of the welcome.
        self.refuse_with: bytes | None = None
        # Set with the first batch that arrives.
        self.batch_arrived = asyncio.Event()
        self.on_batch: Callable[[], None] = lambda: None
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._connected = asyncio.Condition()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen, after a stop on the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End everything."""
        if self._server is not None:
            self._server.close()
        self.cut()
        if self._server is not None:
            await self._server.wait_closed()

    async def connected(self, times: int) -> None:
        """Wait until producers have connected so many times."""
        async with self._connected:
            await self._connected.wait_for(lambda: self.connections >= times)

    def cut(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            writer.transport.abort()

    def say(self, data: bytes) -> None:
        """Send bytes on every connection."""
        for writer in self._writers:
            writer.write(data)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.connections += 1
        async with self._connected:
            self._connected.notify_all()
        side = ServerSide(self.ledger)
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(65536):
                    answer = side.receive(data)
                    if answer and self.refuse_with is not None:
                        writer.write(self.refuse_with)
                        await writer.drain()
                        return
                    writer.write(answer)
                    if side.batches:
                        self.batch_arrived.set()
                    while side.batches:
                        await self.answering.wait()
                        if writer.transport.is_closing():
                            return
                        writer.write(side.apply_next())
                        self.on_batch()
                        await writer.drain()
        finally:
            self._writers.discard(writer)
            writer.close()


@contextlib.asynccontextmanager
async def run_session_server() -> AsyncIterator[SessionServer]:
    """Run the model for the time of the context."""
    server = SessionServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
