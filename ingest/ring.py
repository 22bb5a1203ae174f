"""Hold every tick from its arrival until the aggregator has it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ingest.kernel import SLACK
from ingest.ticks import MAX_RECORD_SIZE
from marketdata.errors import MarketDataError
from marketdata.validation import RejectReason
from marketdata.wire.market_data_pb2 import BatchAck, FeedReport, Refusal, TickBatch

# Refusals of one batch, at most 110 bytes each. Then the batch is closed, so that a producer of
# nothing else is slowed down as any other.
MAX_REFUSALS = 256
# Before the ticks: the first sequence in 11 bytes, and the producer's id after two.
_HEAD_SIZE = 13
# 128 batches of 10,000 ticks have 70 MB, and twice as much if every symbol is long.
MAX_BYTES = 200_000_000


class UnexpectedAck(MarketDataError):
    """The aggregator acked something else than the oldest batch that was sent."""


class BatchOwner(Protocol):
    """The producer session that a batch came from."""

    def batch_acked(self, batch: Batch, ack: BatchAck) -> None:
        """Take the ack of a batch."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive ticks, serialized as a ``TickBatch``."""

    last_sequence: int
    ticks: int
    data: bytes
    refusals: int = 0
    # None: ingest numbered the ticks, which came in v1 frames.
    owner: BatchOwner | None = None
    # The ticks that ingest rejected, by sequence. Only batches of sessions have them.
    rejections: Sequence[tuple[int, RejectReason]] = ()


class BatchRing:
    """Hold batches until they are acked, in the order in which they are sent.

    Ticks of v1 frames are numbered and batched here. The batches of producer sessions come whole.

    The bound is ``max_batches`` unacked batches, or ``max_bytes`` in them. Callers look at
    :attr:`is_full` before they read a connection, so the ring exceeds the bound by at most what one
    read brings.
    """

    def __init__(
        self,
        *,
        producer_id: str,
        first_sequence: int,
        batch_ticks: int,
        max_batches: int,
        max_bytes: int = MAX_BYTES,
        any_price: bool = False,
    ) -> None:
        self.producer_id = producer_id
        self._next_sequence = first_sequence
        self._batch_ticks = batch_ticks
        # Whether ticks with prices of 0 and below are valid.
        self._any_price = any_price
        self.max_batches = max_batches
        self.max_bytes = max_bytes
        # The batch that is being filled: its head, since its first sequence is known, and records.
        size = _HEAD_SIZE + len(producer_id.encode()) + batch_ticks * MAX_RECORD_SIZE + SLACK
        buffer = np.empty(size, np.uint8)
        self._buffer_address: int = buffer.ctypes.data
        self._buffer = buffer.data
        self._used = 0
        self._open_ticks = 0
        # Ticks that were refused since the last batch, and the number of the first one.
        self._refusals: list[Refusal] = []
        self._first_refusal = 1
        #: How many batches were closed since the start.
        self.closed_batches = 0
        self._unacked: deque[Batch] = deque()
        self._unacked_bytes = 0
        # How many of the unacked have no owner.
        self._unowned = 0
        # How many of the unacked were sent on the present stream.
        self._sent = 0
        # Whether the first of the unacked is the greeting of the stream.
        self._has_greeting = False
        self._open_batch()

    @property
    def is_full(self) -> bool:
        """Whether no more ticks should be added until an ack comes."""
        return len(self._unacked) >= self.max_batches or self._unacked_bytes >= self.max_bytes

    @property
    def is_half_full(self) -> bool:
        """Whether half of what may be unacked is, or more."""
        return (
            2 * len(self._unacked) >= self.max_batches or 2 * self._unacked_bytes >= self.max_bytes
        )

    @property
    def unanswered(self) -> int:
        """How many batches that were closed here are not acked; those of sessions do not count."""
        return self._unowned

    @property
    def is_empty(self) -> bool:
        """Whether the aggregator has every tick."""
        waiting = self._open_ticks or self._refusals
        return not waiting and not any(batch.ticks or batch.refusals for batch in self._unacked)

    @property
    def open_ticks(self) -> int:
        """How many ticks are in the batch that is being filled."""
        return self._open_ticks

    @property
    def free_batches(self) -> int:
        """How many more batches the ring takes."""
        return 0 if self.is_full else self.max_batches - len(self._unacked)

    @property
    def unacked_ticks(self) -> int:
        """How many ticks the aggregator is not known to have."""
        return sum(batch.ticks for batch in self._unacked) + self._open_ticks

    @property
    def unowned_ticks(self) -> int:
        """How many of them no producer sends again."""
        unowned = (batch.ticks for batch in self._unacked if batch.owner is None)
        return sum(unowned) + self._open_ticks

    @property
    def room(self) -> int:
        """How many more ticks the batch that is being filled takes, at least one."""
        return self._batch_ticks - self._open_ticks

    @property
    def address(self) -> int:
        """Where in memory the next record goes.

        The caller may write as many as there is room for, and SLACK bytes more, and then calls
        :meth:`advance`.
        """
        return self._buffer_address + self._used

    def advance(self, address: int, ticks: int) -> None:
        """Take in what was written up to ``address``."""
        self._used = address - self._buffer_address
        self._open_ticks += ticks
        if self._open_ticks == self._batch_ticks:
            self.close_batch()

    def add(self, record: bytes) -> None:
        """Take one tick in, as its record in a ``TickBatch``."""
        self._buffer[self._used : self._used + len(record)] = record
        self.advance(self.address + len(record), 1)

    def refuse(self, refusal: Refusal) -> None:
        """Take in that a tick was refused; it leaves with the open batch, or the next report."""
        self._refusals.append(refusal)
        if len(self._refusals) == MAX_REFUSALS:
            self.close_batch()

    def close_batch(self, report: FeedReport | None = None) -> None:
        """Make what was taken in so far ready to be sent, with or without a report."""
        refusals = self._refusals
        if not self._open_ticks and not refusals and report is None:
            return
        ticks = self._open_ticks
        self._next_sequence += ticks
        data = bytes(self._buffer[: self._used])
        if report is not None or refusals or self._any_price:
            tail = TickBatch(feed=report, refusals=refusals, any_price=self._any_price)
            tail.first_refusal = self._first_refusal if refusals else 0
            data += tail.SerializeToString()
        self._append(Batch(self._next_sequence - 1, ticks, data, len(refusals)))
        self._first_refusal += len(refusals)
        self._refusals = []
        self.closed_batches += 1
        self._open_batch()

    def _open_batch(self) -> None:
        data = self._head(self._next_sequence)
        self._used = len(data)
        self._buffer[: self._used] = data
        self._open_ticks = 0

    def _head(self, first_sequence: int, report: FeedReport | None = None) -> bytes:
        head = TickBatch(producer_id=self.producer_id, first_sequence=first_sequence, feed=report)
        return head.SerializeToString()

    def add_batch(self, batch: Batch) -> None:
        """Take in the batch of a session, ready to be sent."""
        self._append(batch)

    def next_unsent(self) -> Batch | None:
        """Return the next batch to send on the present stream, or None for "not yet"."""
        if self._sent == len(self._unacked):
            return None
        batch = self._unacked[self._sent]
        self._sent += 1
        return batch

    def acknowledge(self, last_sequence: int) -> list[Batch]:
        """Forget the oldest batch, which ends at ``last_sequence``: the aggregator has it.

        Batches without an owner that were sent before it, and end earlier, are acked with it.

        Returns:
            The batches that were acked.

        Raises:
            UnexpectedAck: the oldest batch is of a session and ends elsewhere.
        """
        acked: list[Batch] = []
        while self._sent and self._unacked[0].last_sequence <= last_sequence:
            first = self._unacked[0]
            if first.owner is not None and (acked or first.last_sequence != last_sequence):
                break
            acked.append(self._pop())
            self._has_greeting = False
            if first.last_sequence == last_sequence:
                # A batch without ticks after it ends there too, and gets an ack of its own.
                break
        if not acked and self._sent and self._unacked[0].owner is not None:
            expected = self._unacked[0].last_sequence
            raise UnexpectedAck(f"ack of sequence {last_sequence}, expected {expected}")
        return acked

    def rewind(self, greeting: FeedReport | None = None) -> None:
        """Start over with the oldest unacked batch: the stream is lost.

        The next one begins with ``greeting``, which takes the place of the former stream's.
        """
        if self._has_greeting:
            self._sent = 1
            self._pop()
            self._has_greeting = False
        self._sent = 0
        if greeting is not None:
            first = self._next_sequence
            oldest = next((each for each in self._unacked if each.owner is None), None)
            if oldest is not None:
                first = oldest.last_sequence - oldest.ticks + 1
            self._append(Batch(first - 1, 0, self._head(first, greeting)), is_first=True)
            self._has_greeting = True

    def _append(self, batch: Batch, *, is_first: bool = False) -> None:
        if is_first:
            self._unacked.appendleft(batch)
        else:
            self._unacked.append(batch)
        self._unacked_bytes += len(batch.data)
        self._unowned += batch.owner is None

    def _pop(self) -> Batch:
        # Removes the oldest, which was sent.
        batch = self._unacked.popleft()
        self._sent -= 1
        self._unacked_bytes -= len(batch.data)
        self._unowned -= batch.owner is None
        return batch
