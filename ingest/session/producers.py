"""Know the producers with a session or with unacked batches."""

from __future__ import annotations

from typing import Protocol

from ingest.ring import Batch, BatchRing
from ingest.session.batches import SessionBatch
from marketdata.wire.market_data_pb2 import BatchAck

# One producer may use this part of the ring.
SHARE = 4


class Session(Protocol):
    """One connection of a producer."""

    def replace(self) -> None:
        """End: the producer has a newer session."""

    def batch_acked(self, batch: Batch, ack: BatchAck) -> None:
        """Take the ack of a batch of the producer, which an earlier session may have sent."""


class SessionProducer:
    """One producer: its present session, and its batches in the ring."""

    def __init__(self, producer_id: str, registry: SessionProducers) -> None:
        self.producer_id = producer_id
        self._registry = registry
        self.session: Session | None = None
        self.unacked_batches = 0
        self._unacked_bytes = 0

    @property
    def is_at_limit(self) -> bool:
        """Whether it has its share of the ring."""
        ring = self._registry.ring
        return bool(self.unacked_batches) and (
            self.unacked_batches >= ring.max_batches // SHARE
            or self._unacked_bytes >= ring.max_bytes // SHARE
        )

    def add(self, batch: SessionBatch) -> None:
        """Put a batch into the ring."""
        self.unacked_batches += 1
        self._unacked_bytes += len(batch.data)
        self._registry.ring.add_batch(
            Batch(
                batch.last_sequence,
                batch.ticks,
                batch.data,
                owner=self,
                rejections=batch.rejections,
            )
        )

    def batch_acked(self, batch: Batch, ack: BatchAck) -> None:
        """Take the ack of a batch, whether its session has ended or not."""
        self.unacked_batches -= 1
        self._unacked_bytes -= len(batch.data)
        if self.session is not None:
            self.session.batch_acked(batch, ack)
        self._registry.forget_idle(self)

    def leave(self, session: Session) -> None:
        """Note that a session has ended."""
        if self.session is session:
            self.session = None
            self._registry.forget_idle(self)


class SessionProducers:
    """All producers with a session, or with batches that are not acked."""

    def __init__(self, ring: BatchRing) -> None:
        self.ring = ring
        self._producers: dict[str, SessionProducer] = {}

    def __len__(self) -> int:
        return len(self._producers)

    def join(self, producer_id: str, session: Session) -> SessionProducer:
        """Return the producer of a new session, which replaces an earlier one."""
        producer = self._producers.get(producer_id)
        if producer is None:
            producer = self._producers[producer_id] = SessionProducer(producer_id, self)
        former, producer.session = producer.session, session
        if former is not None:
            former.replace()
        return producer

    def forget_idle(self, producer: SessionProducer) -> None:
        """Remove a producer without a session and without batches."""
        if producer.session is None and not producer.unacked_batches:
            self._producers.pop(producer.producer_id, None)
