"""Merge the acks of batches into the acks of a producer."""

from __future__ import annotations

from ingest.ring import Batch
from ingest.session.batches import MAX_BATCH_TICKS
from marketdata.wire.market_data_pb2 import BatchAck, Rejection
from marketdata.wire.producer_pb2 import ProducerAck

# Rejections in one ack, so that it has less than 1,000,000 bytes.
MAX_REJECTIONS = MAX_BATCH_TICKS


class AckMerger:
    """Collect the acks of one session until they are sent."""

    def __init__(self) -> None:
        self._acks: list[ProducerAck] = []

    def add(self, batch: Batch, ack: BatchAck) -> None:
        """Take in the ack of a batch; the ticks that ingest rejected are added to it."""
        rejections = list(ack.rejections)
        if batch.rejections:
            rejections += (Rejection(sequence=at, reason=why) for at, why in batch.rejections)
            rejections.sort(key=_sequence)
        last = self._acks[-1] if self._acks else None
        if last is None or len(last.rejections) + len(rejections) > MAX_REJECTIONS:
            last = ProducerAck()
            self._acks.append(last)
        # A batch that was sent again may end before an earlier one.
        last.last_sequence = max(last.last_sequence, ack.last_sequence)
        last.accepted += ack.accepted
        last.duplicates += ack.duplicates
        last.rejections.extend(rejections)

    def take(self) -> list[ProducerAck]:
        """Return the acks to send, the earliest first."""
        acks, self._acks = self._acks, []
        return acks


def _sequence(rejection: Rejection) -> int:
    return rejection.sequence
