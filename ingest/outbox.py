"""Hold every tick from its arrival until the aggregator has it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from ingest.kernel import SLACK
from ingest.ticks import MAX_PIECE_SIZE
from marketdata.wire.market_data_pb2 import TickBatch

# What stands before the ticks: the first sequence in 11 bytes, and the producer's id behind two.
_HEAD_SIZE = 13


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
        # The batch that is being filled: its head, since its first sequence is known, and pieces.
        size = _HEAD_SIZE + len(producer_id.encode()) + batch_ticks * MAX_PIECE_SIZE + SLACK
        buffer = np.empty(size, np.uint8)
        self._buffer_address: int = buffer.ctypes.data
        self._buffer = buffer.data
        self._used = 0
        self._open_ticks = 0
        #: How many batches were closed since the start.
        self.closed_batches = 0
        self._unacked: deque[Batch] = deque()
        # How many of the unacked were sent on the present stream.
        self._sent = 0
        self._open_batch()

    @property
    def is_full(self) -> bool:
        """Whether no more ticks should be added until an ack comes."""
        return len(self._unacked) >= self._max_batches

    @property
    def is_half_full(self) -> bool:
        """Whether half of the batches that may be unacked are, or more."""
        return 2 * len(self._unacked) >= self._max_batches

    @property
    def is_idle(self) -> bool:
        """Whether every batch that was closed is acked."""
        return not self._unacked

    @property
    def is_empty(self) -> bool:
        """Whether the aggregator has everything."""
        return not self._unacked and not self._open_ticks

    @property
    def open_ticks(self) -> int:
        """How many ticks are in the batch that is being filled."""
        return self._open_ticks

    @property
    def free_batches(self) -> int:
        """How many more batches the ring takes."""
        return max(self._max_batches - len(self._unacked), 0)

    @property
    def unacked_ticks(self) -> int:
        """How many ticks the aggregator is not known to have."""
        return sum(batch.ticks for batch in self._unacked) + self._open_ticks

    @property
    def room(self) -> int:
        """How many more ticks the batch that is being filled takes, at least one."""
        return self._batch_ticks - self._open_ticks

    @property
    def address(self) -> int:
        """Where in memory the next piece goes.

        As many as there is room for may be written there, and SLACK bytes more spoiled; then
        :meth:`advance` takes them in.
        """
        return self._buffer_address + self._used

    def advance(self, address: int, ticks: int) -> None:
        """Take in what was written up to ``address``."""
        self._used = address - self._buffer_address
        self._open_ticks += ticks
        if self._open_ticks == self._batch_ticks:
            self.close_batch()

    def add(self, piece: bytes) -> None:
        """Take one tick in."""
        self._buffer[self._used : self._used + len(piece)] = piece
        self.advance(self.address + len(piece), 1)

    def close_batch(self) -> None:
        """Make the ticks taken in so far ready to be sent."""
        if not self._open_ticks:
            return
        ticks = self._open_ticks
        self._next_sequence += ticks
        data = bytes(self._buffer[: self._used])
        self._unacked.append(Batch(self._next_sequence - 1, ticks, data))
        self.closed_batches += 1
        self._open_batch()

    def _open_batch(self) -> None:
        head = TickBatch(producer_id=self._producer_id, first_sequence=self._next_sequence)
        data = head.SerializeToString()
        self._used = len(data)
        self._buffer[: self._used] = data
        self._open_ticks = 0

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
