"""Send ticks to ingest so that each one counts exactly once: ticks in, acks out.

::

    from marketdata.producer import Producer

    async with Producer("localhost:50050", producer_id="feed-1") as producer:
        await producer.send("AAPL", 150.25, 100, time.time_ns())

:class:`SyncProducer` is the same for programs without asyncio. docs/producer.md is the guide.
"""

from marketdata.producer.encoding import EncodedTicks, TickRow, encode_rows
from marketdata.producer.errors import (
    CannotConnect,
    InvalidTick,
    ProducerClosed,
    ProducerError,
    ProducerRefused,
    ProducerReplaced,
    ProtocolViolation,
    SequenceConflict,
    ServerLostTicks,
    UnackedTicks,
)
from marketdata.producer.matrix import encode_columns
from marketdata.producer.producer import Producer
from marketdata.producer.session import LostRange, RejectedTick
from marketdata.producer.sync import SyncProducer

__all__ = [
    "CannotConnect",
    "EncodedTicks",
    "InvalidTick",
    "LostRange",
    "Producer",
    "ProducerClosed",
    "ProducerError",
    "ProducerRefused",
    "ProducerReplaced",
    "ProtocolViolation",
    "RejectedTick",
    "SequenceConflict",
    "ServerLostTicks",
    "SyncProducer",
    "TickRow",
    "UnackedTicks",
    "encode_columns",
    "encode_rows",
]
