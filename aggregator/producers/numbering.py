"""Give each tick its place in the order of arrival, once, and answer for batches."""

from __future__ import annotations

from collections.abc import Iterable

from aggregator.bars.candle import MAX_INT64
from aggregator.producers.producers import Producers
from aggregator.wire.batch import Batch
from marketdata.errors import MarketDataError
from marketdata.validation import RejectReason
from marketdata.wire.market_data_pb2 import BatchAck, Rejection

MAX_PRODUCER_ID_LENGTH = 64


class InvalidBatch(MarketDataError):
    """A batch cannot be placed: its producer or its sequence is not usable."""


class Numbering:
    """Number the ticks that have no identity, and know those that came before.

    :attr:`duplicates` counts the latter.
    """

    def __init__(self, producers: Producers, epoch: int) -> None:
        self._producers = producers
        # Ticks without an identity are ordered by arrival. Sequences begin at the clock, as those
        # of ingest do, so that ties between the two kinds fall to arrival too.
        self._next_sequence = epoch
        self.duplicates = 0

    def number(self, batch: Batch) -> tuple[int, int]:
        """Return the sequence of the first tick, and how many of the first ones came before.

        Raises:
            InvalidBatch: the producer id is too long, or a sequence is outside 1..2^63-1.
        """
        if not batch.producer_id:
            first = self._next_sequence
            self._next_sequence += batch.count
            return first, 0
        check_batch(batch)
        seen = self._producers.advance(batch.producer_id, batch.first_sequence, batch.count)
        self.duplicates += seen
        return batch.first_sequence, seen


def check_batch(batch: Batch) -> None:
    """Return if a batch with an identity can be placed.

    Raises:
        InvalidBatch: the producer id is too long, or a sequence is outside 1..2^63-1.
    """
    length = len(batch.producer_id)
    if length > MAX_PRODUCER_ID_LENGTH:
        raise InvalidBatch(f"producer_id has {length} characters, limit {MAX_PRODUCER_ID_LENGTH}")
    first, last = batch.first_sequence, batch.first_sequence + batch.count - 1
    if first < 1 or last > MAX_INT64:
        raise InvalidBatch(f"sequences {first}..{last} are not within 1..{MAX_INT64}")


def heard_times(batch: Batch, latest_ns: int) -> tuple[int, int] | None:
    """Return the earliest and the latest exchange time that is not rejected, or None."""
    if not batch.count:
        return None
    times = batch.times[: batch.count]
    first, last = int(times.min()), int(times.max())
    if first <= 0 or last > latest_ns:
        # Ticks that will be rejected.
        times = times[(times > 0) & (times <= latest_ns)]
        if not times.size:
            return None
        first, last = int(times.min()), int(times.max())
    return first, last


def make_ack(
    last_sequence: int,
    accepted: int,
    duplicates: int,
    rejections: Iterable[tuple[int, RejectReason]],
) -> BatchAck:
    """Return the answer to a batch."""
    return BatchAck(
        last_sequence=last_sequence,
        accepted=accepted,
        duplicates=duplicates,
        rejections=[Rejection(sequence=sequence, reason=reason) for sequence, reason in rejections],
    )
