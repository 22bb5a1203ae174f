"""Hold every tick from its arrival until the aggregator has it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from marketdata.wire.market_data_pb2 import FeedReport, TickBatch


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive ticks, serialized as a ``TickBatch``; none, if it only carries a report."""

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
        # Whether the first of the unacked is what a stream begins with.
        self._has_greeting = False

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
        """Whether the aggregator has every tick."""
        return not self._open and not any(batch.ticks for batch in self._unacked)

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

    def close_batch(self, report: FeedReport | None = None) -> None:
        """Make the ticks taken in so far ready to be sent, with or without a report."""
        if not self._open and report is None:
            return
        head = self._head(self._next_sequence, report)
        ticks = len(self._open)
        self._next_sequence += ticks
        self._unacked.append(Batch(self._next_sequence - 1, ticks, head + b"".join(self._open)))
        self._open.clear()

    def _head(self, first_sequence: int, report: FeedReport | None) -> bytes:
        head = TickBatch(producer_id=self._producer_id, first_sequence=first_sequence, feed=report)
        return head.SerializeToString()

    def next_unsent(self) -> Batch | None:
        """Return the next batch to send on the present stream, or None for "not yet"."""
        if self._sent == len(self._unacked):
            return None
        batch = self._unacked[self._sent]
        self._sent += 1
        return batch

    def acknowledge(self, last_sequence: int) -> None:
        """Forget the batches up to ``last_sequence``: the aggregator has them."""
        while self._sent and self._unacked[0].last_sequence <= last_sequence:
            gone = self._unacked.popleft()
            self._sent -= 1
            self._has_greeting = False
            if gone.last_sequence == last_sequence:
                # One behind it without ticks ends there too, and gets an ack of its own.
                break

    def rewind(self, greeting: FeedReport | None = None) -> None:
        """Start over with the oldest unacked batch: the stream is lost.

        The next one begins with ``greeting``, which takes the place of the former stream's.
        """
        self._sent = 0
        if self._has_greeting:
            self._unacked.popleft()
            self._has_greeting = False
        if greeting is not None:
            first = self._next_sequence
            if self._unacked:
                first = self._unacked[0].last_sequence - self._unacked[0].ticks + 1
            self._unacked.appendleft(Batch(first - 1, 0, self._head(first, greeting)))
            self._has_greeting = True
