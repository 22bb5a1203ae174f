"""A producer session as a test speaks it, message by message."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from marketdata.framing import encode_frame
from marketdata.wire.market_data_pb2 import Tick, TickBatch
from marketdata.wire.producer_pb2 import (
    IngestMessage,
    ProducerAck,
    ProducerError,
    ProducerHello,
    ProducerMessage,
    ProducerWelcome,
)

MAGIC = b"MDS2"
TIMEOUT_S = 30


def hello(producer_id: str) -> bytes:
    """Return the frame of a hello."""
    message = ProducerMessage(hello=ProducerHello(producer_id=producer_id))
    return encode_frame(message.SerializeToString())


def batch(first_sequence: int, ticks: Sequence[Tick]) -> bytes:
    """Return the frame of a batch."""
    message = ProducerMessage(batch=TickBatch(first_sequence=first_sequence, ticks=ticks))
    return encode_frame(message.SerializeToString(), 16_000_000)


class SessionOver(ConnectionError):
    """Ingest has ended the session with an error; the text is its reason."""


class SessionClient:
    """One connection of a producer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)

    def send(self, first_sequence: int, ticks: Sequence[Tick]) -> None:
        """Send a batch."""
        self.write(batch(first_sequence, ticks))

    async def next_message(self) -> IngestMessage:
        """Return the next message."""
        async with asyncio.timeout(TIMEOUT_S):
            size = int.from_bytes(await self.reader.readexactly(4), "big")
            return IngestMessage.FromString(await self.reader.readexactly(size))

    async def welcome(self) -> ProducerWelcome:
        """Return the welcome, which must be the next message."""
        message = await self._next_answer()
        assert message.WhichOneof("message") == "welcome", message
        return message.welcome

    async def ack(self) -> ProducerAck:
        """Return an ack, which must be the next message."""
        message = await self._next_answer()
        assert message.WhichOneof("message") == "ack", message
        return message.ack

    async def _next_answer(self) -> IngestMessage:
        message = await self.next_message()
        if message.HasField("error"):
            raise SessionOver(message.error.reason)
        return message

    async def acked(self, last_sequence: int) -> ProducerAck:
        """Return the sum of the acks up to a sequence."""
        total = ProducerAck()
        while total.last_sequence < last_sequence:
            ack = await self.ack()
            assert ack.last_sequence > total.last_sequence
            total.last_sequence = ack.last_sequence
            total.accepted += ack.accepted
            total.duplicates += ack.duplicates
            total.rejections.extend(ack.rejections)
        return total

    async def error(self) -> ProducerError:
        """Return the error that ends the session; it is the last message."""
        while (message := await self.next_message()).WhichOneof("message") != "error":
            pass
        async with asyncio.timeout(TIMEOUT_S):
            assert await self.reader.read() == b""
        return message.error


@contextlib.asynccontextmanager
async def connect_session(port: int) -> AsyncIterator[SessionClient]:
    """Connect, and say that it is a session."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(MAGIC)
    try:
        yield SessionClient(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def open_session(port: int, producer_id: str = "feed-1") -> AsyncIterator[SessionClient]:
    """Connect and say hello."""
    async with connect_session(port) as client:
        client.write(hello(producer_id))
        yield client
