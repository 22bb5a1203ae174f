"""Give each tick its place in the order of arrival, and make the acks of batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from aggregator.bars.candle import MAX_INT64
from aggregator.producers.producers import Producers
from aggregator.wire.batch import Batch
from marketdata.errors import MarketDataError
from marketdata.validation import RejectReason
from marketdata.wire.market_data_pb2 import BatchAck, Refusal, Rejection

MAX_PRODUCER_ID_LENGTH = 64
_REFUSALS = " refusals"


class InvalidBatch(MarketDataError):
    """The producer id or the sequence of a batch is invalid."""


class Numbering:
    """Number ticks, and recognize those that were applied before.

    :attr:`duplicates` counts the latter.
    """

    def __init__(self, producers: Producers, epoch: int) -> None:
        self._producers = producers
        # Ticks without an identity are ordered by arrival. Like the sequences of ingest, ours begin
        # at the clock, so that a tie in exchange time between the two kinds goes by arrival too.
        self._next_sequence = epoch
        self.duplicates = 0

    def start(self, now_ns: int, *, begins: bool) -> None:
        """Begin, or go on, at the clock."""
        self._next_sequence = now_ns if begins else max(self._next_sequence, now_ns)

    def number(self, batch: Batch) -> tuple[int, int]:
        """Return the sequence of the first tick, and how many of the first ones came before.

        Raises:
            InvalidBatch: the producer id is too long, or a sequence is outside 1..2^63-1.
        """
        if not batch.producer_id:
            first = self._next_sequence
            self._next_sequence += batch.count
            return first, 0
        _check(batch)
        seen = self._producers.advance(batch.producer_id, batch.first_sequence, batch.count)
        self.duplicates += count_duplicates(batch, seen)
        return batch.first_sequence, seen

    def new_refusals(self, batch: Batch, seen: int) -> Sequence[Refusal]:
        """Return the refusals of a batch that were not seen before.

        Args:
            batch: the batch.
            seen: how many of its first ticks came before.
        """
        refusals = batch.refusals
        if batch.producer_id and refusals and refusals[0].sequence:
            # Each has the place of a tick.
            new = batch.first_sequence + seen
            return [refusal for refusal in refusals if refusal.sequence >= new]
        if batch.producer_id and refusals:
            # They are counted apart from the ticks, as those of another producer.
            name = f"{batch.producer_id}{_REFUSALS}"
            refusals = refusals[self._producers.advance(name, batch.first_refusal, len(refusals)) :]
        return refusals

    def dump_state(self) -> dict[str, Any]:
        """Return the next sequence, the sequences of the producers, and the counts."""
        return {
            "producers": self._producers.dump_state(),
            "next_sequence": self._next_sequence,
            "duplicates": self.duplicates,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where another one was."""
        self._producers.load_state(state["producers"])
        self._next_sequence = state["next_sequence"]
        self.duplicates = state["duplicates"]


def count_duplicates(batch: Batch, seen: int) -> int:
    """Return how many of the first ``seen`` ticks the sender had accepted."""
    return seen - len(batch.empty_within(0, seen)) if seen else 0


def make_ack(
    last_sequence: int,
    accepted: int,
    duplicates: int,
    rejections: Iterable[tuple[int, RejectReason]],
) -> BatchAck:
    """Return the answer to a batch."""
    ack = BatchAck(last_sequence=last_sequence, accepted=accepted, duplicates=duplicates)
    for sequence, reason in rejections:
        ack.rejections.append(Rejection(sequence=sequence, reason=reason))
    return ack


def _check(batch: Batch) -> None:
    length = len(batch.producer_id)
    if length > MAX_PRODUCER_ID_LENGTH:
        raise InvalidBatch(f"producer_id has {length} characters, limit {MAX_PRODUCER_ID_LENGTH}")
    first, last = batch.first_sequence, batch.first_sequence + batch.count - 1
    if first < 1 or last > MAX_INT64:
        raise InvalidBatch(f"sequences {first}..{last} are not within 1..{MAX_INT64}")
