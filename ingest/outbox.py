"""Hold every tick from its arrival until the aggregator has it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from marketdata.wire.market_data_pb2 import TickBatch


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive ticks, serialized as a ``TickBatch``."""

    last_sequence: int
    ticks: int
    data: bytes


class Outbox:
    """Number the ticks of one producer, batch them, and keep the batches until they are acked.

    The bound is ``max_batches`` unacked batches; whoever adds looks at :attr:`is_full` first, so it
    is passed by at most what one read of one connection brings.
    """

    def __init__(
        self, *, producer_id: str, first_sequence: int, batch_ticks: int, max_batches: int
    ) -> None:
        self._producer_id = producer_id
        self._next_sequence = first_sequence
        self._batch_ticks = batch_ticks
        self._max_batches = max_batches
        # The batch that is being filled.
        self._open: list[bytes] = []
        self._unacked: deque[Batch] = deque()
        # How many of the unacked were sent on the present stream.
        self._sent = 0

    @property
    def is_full(self) -> bool:
        """Whether no more ticks should be added until an ack comes."""
        return len(self._unacked) >= self._max_batches

    @property
    def is_idle(self) -> bool:
        """Whether every batch that was closed is acked."""
        return not self._unacked

    @property
    def is_empty(self) -> bool:
        """Whether the aggregator has everything."""
        return not self._unacked and not self._open

    @property
    def open_ticks(self) -> int:
        """How many ticks are in the batch that is being filled."""
        return len(self._open)

    @property
    def free_batches(self) -> int:
        """How many more batches the ring takes."""
        return max(self._max_batches - len(self._unacked), 0)

    @property
    def unacked_ticks(self) -> int:
        """How many ticks the aggregator is not known to have."""
        return sum(batch.ticks for batch in self._unacked) + len(self._open)

    def add(self, pieces: list[bytes]) -> bool:
        """Take ticks in; return whether at least one batch was closed because it was full."""
        closed, start = False, 0
        while (stop := start + self._batch_ticks - len(self._open)) <= len(pieces):
            self._open += pieces[start:stop]
            self.close_batch()
            closed, start = True, stop
        self._open += pieces[start:] if start else pieces
        return closed

    def close_batch(self) -> None:
        """Make the ticks taken in so far ready to be sent."""
        if not self._open:
            return
        head = TickBatch(producer_id=self._producer_id, first_sequence=self._next_sequence)
        ticks = len(self._open)
        self._next_sequence += ticks
        data = head.SerializeToString() + b"".join(self._open)
        self._unacked.append(Batch(self._next_sequence - 1, ticks, data))
        self._open.clear()

    def next_unsent(self) -> Batch | None:
        """Return the next batch to send on the present stream, or None for "not yet"."""
        if self._sent == len(self._unacked):
            return None
        batch = self._unacked[self._sent]
        self._sent += 1
        return batch

    def acknowledge(self, last_sequence: int) -> None:
        """Forget the batches up to ``last_sequence``: the aggregator has them."""
        while self._unacked and self._unacked[0].last_sequence <= last_sequence:
            self._unacked.popleft()
            self._sent -= 1

    def rewind(self) -> None:
        """Start over with the oldest unacked batch: the stream is lost."""
        self._sent = 0
