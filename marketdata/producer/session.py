"""The rules of a producer session: ticks and the server's bytes in, frames and acks out.

Ticks wait in one open batch until a batch may leave: at once while fewer than two batches are
unanswered, or as soon as the batch is full. Batches are kept until they are acked, and a new
connection sends them again with the same boundaries.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from google.protobuf.message import DecodeError

from marketdata.producer.encoding import (
    MAX_BATCH_BYTES,
    MAX_BATCH_TICKS,
    split_records,
)
from marketdata.producer.errors import ProtocolViolation, SequenceConflict, ServerLostTicks
from marketdata.producer.frames import AnswerReader, batch_frame, error_of, hello_frame
from marketdata.wire.market_data_pb2 import Tick
from marketdata.wire.producer_pb2 import ProducerAck

# A batch is small under a light load, so more than two of them only cost messages.
SMALL_BATCHES_IN_FLIGHT = 2
# An encoded tick without fields. The server rejects it, and so its sequence is taken.
_EMPTY_RECORD = b"\x1a\x00"


class RejectedTick(NamedTuple):
    """A tick that the server rejected, with the values that were sent."""

    symbol: str
    price: float
    volume: int
    timestamp: int
    # The volume counts 10^-volume_decimals.
    volume_decimals: int = 0
    trade_id: bytes = b""
    excludes: int = 0
    # Of TickAction: 0 is a trade.
    action: int = 0


class LostRange(NamedTuple):
    """Sequences that the server had acked and has no more."""

    first_sequence: int
    last_sequence: int


class Rejected(NamedTuple):
    """What an ack says about one tick."""

    sequence: int
    reason: str
    tick: RejectedTick


class Limits(NamedTuple):
    """How much may wait for acks."""

    max_unacked_ticks: int
    max_unacked_bytes: int


@dataclass(slots=True)
class _Batch:
    # Counted from 0 since this process began; the first welcome says where the sequences begin.
    first: int
    ticks: int
    records: bytes


class ProducerSession:
    """Hold ticks until they are acked.

    :attr:`sent` counts the ticks that were added, :attr:`acked` those that the server has, and
    :attr:`rejected` those that it refused: ``sent = acked + rejected + unacked``.
    :attr:`duplicates` counts the ticks that the server had from an earlier connection.

    Args:
        producer_id: under which the server counts the sequence.
        limits: how much may wait.
        on_reject: called with each tick that the server rejects.
        on_lost: called if the server has less than it acked; None: that ends the session.
    """

    def __init__(
        self,
        producer_id: str,
        limits: Limits,
        on_reject: Callable[[Rejected], None],
        on_lost: Callable[[LostRange], None] | None = None,
    ) -> None:
        self._producer_id = producer_id
        self._limits = limits
        self._on_reject = on_reject
        self._on_lost = on_lost
        self._reported_loss: LostRange | None = None
        self.sent = 0
        self.rejected = 0
        self.duplicates = 0
        # Ticks that the server answered for, from the first on.
        self.answered = 0
        self.unacked_bytes = 0
        self.welcomed = False
        # The sequence of the tick before the first one of this process; known from the first
        # welcome on.
        self._base: int | None = None
        # The open batch.
        self._records: list[bytes] = []
        self._open_ticks = 0
        self._open_bytes = 0
        # Complete batches, the oldest first. The first _written ones were written to this
        # connection; together with earlier connections, so many ticks were ever written.
        self._batches: deque[_Batch] = deque()
        self._written = 0
        self._ever_written = 0
        # Where the server has lost ticks: the next sequence to fill on this connection.
        self._fill_from: int | None = None
        # Rejections of ticks that are not yet answered for.
        self._rejections: dict[int, str] = {}
        self._answers = AnswerReader()

    @property
    def acked(self) -> int:
        """How many ticks the server has."""
        return self.answered - self.rejected

    @property
    def unacked(self) -> int:
        """How many ticks the server has not answered for."""
        return self.sent - self.answered

    @property
    def last_sequence(self) -> int | None:
        """The sequence of the newest tick; None before the first welcome."""
        return None if self._base is None else self._base + self.sent

    @property
    def is_idle(self) -> bool:
        """Whether a tick that is added now leaves at once."""
        return self.welcomed and self._written < SMALL_BATCHES_IN_FLIGHT

    def has_room(self, ticks: int, size: int) -> bool:
        """Return whether so many ticks and bytes may be added now."""
        limits = self._limits
        return (
            self.sent - self.answered + ticks <= limits.max_unacked_ticks
            and self.unacked_bytes + size <= limits.max_unacked_bytes
        )

    def add(self, data: bytes, ticks: int = 1) -> None:
        """Add encoded records of one batch at most."""
        if (
            self._open_ticks + ticks > MAX_BATCH_TICKS
            or self._open_bytes + len(data) > MAX_BATCH_BYTES
        ):
            self._complete()
        self._records.append(data)
        self._open_ticks += ticks
        self._open_bytes += len(data)
        self.unacked_bytes += len(data)
        self.sent += ticks

    def open_connection(self) -> bytes:
        """Begin a new connection; return what is sent first."""
        self.close_connection()
        return hello_frame(self._producer_id)

    def close_connection(self) -> None:
        """Forget the connection: what it did not ack is sent again by the next one."""
        self.welcomed = False
        self._written = 0
        self._fill_from = None
        self._answers.clear()

    def next_frame(self) -> bytes | None:
        """Return the next frame to send now; None: the session waits for ticks or answers."""
        if not self.welcomed or self._base is None:
            return None
        if self._fill_from is not None:
            return self._next_filler(self._base, self._fill_from)
        if self._written == len(self._batches):
            if not self._open_ticks or self._written >= SMALL_BATCHES_IN_FLIGHT:
                return None
            self._complete()
        batch = self._batches[self._written]
        self._written += 1
        self._ever_written = max(self._ever_written, batch.first + batch.ticks)
        return batch_frame(self._base + 1 + batch.first, batch.records)

    def receive_data(self, data: bytes) -> None:
        """Take the server's answers.

        Raises:
            ProducerError: the session ends for ever.
            ServerEnded: the connection ends, and another one may go on.
        """
        for message in self._answers.read(data):
            kind = message.WhichOneof("message")
            if kind == "ack" and self.welcomed:
                self._take_ack(message.ack)
            elif kind == "welcome" and not self.welcomed:
                self._take_welcome(message.welcome.last_sequence)
            elif kind == "error":
                raise error_of(message.error.reason, message.error.detail)
            else:
                raise ProtocolViolation(f"the server sent {kind!r} where it cannot come")

    def _take_welcome(self, last_sequence: int) -> None:
        if self._base is None:
            self._base = last_sequence
        acked, written = self._base + self.answered, self._base + self._ever_written
        if last_sequence > written:
            raise SequenceConflict(last_sequence, written)
        if last_sequence < acked:
            self._report_loss(LostRange(last_sequence + 1, acked))
        # Batches up to last_sequence are not forgotten but sent again: the server recognises them,
        # and its answer has the rejections that were lost with the earlier connection.
        self.welcomed = True

    def _next_filler(self, base: int, first: int) -> bytes:
        # A server takes no batch that leaves out sequences. The lost ticks are not here any more,
        # so empty ones stand for them.
        count = min(base + self.answered + 1 - first, MAX_BATCH_TICKS)
        end = first + count
        self._fill_from = end if end <= base + self.answered else None
        return batch_frame(first, _EMPTY_RECORD * count)

    def _report_loss(self, lost: LostRange) -> None:
        if self._on_lost is None:
            raise ServerLostTicks(lost.first_sequence, lost.last_sequence)
        if lost.first_sequence > 1:
            # An unknown producer may begin where it likes.
            self._fill_from = lost.first_sequence
        # The next connection may find the same.
        if lost != self._reported_loss:
            self._reported_loss = lost
            self._on_lost(lost)

    def _take_ack(self, ack: ProducerAck) -> None:
        base = self._base or 0
        if ack.last_sequence > base + self._ever_written:
            raise ProtocolViolation(
                f"the server acked sequence {ack.last_sequence}, the last one sent is "
                f"{base + self._ever_written}"
            )
        for rejection in ack.rejections:
            if base + self.answered < rejection.sequence <= base + self._ever_written:
                self._rejections.setdefault(rejection.sequence, rejection.reason)
        self.duplicates += ack.duplicates
        # An ack may cover what only an earlier connection sent. Its rejections come when this one
        # has sent it too.
        written = 0
        if self._written:
            last = self._batches[self._written - 1]
            written = last.first + last.ticks
        answered = min(ack.last_sequence - base, written)
        if answered > self.answered:
            self._reject_up_to(base + answered)
            self.answered = answered
            self._forget_answered()

    def _reject_up_to(self, last_sequence: int) -> None:
        if not self._rejections:
            return
        base = self._base or 0
        batches = iter(self._batches)
        batch: _Batch | None = None
        payloads: list[bytes] = []
        for sequence in sorted(each for each in self._rejections if each <= last_sequence):
            place = sequence - base - 1
            while batch is None or place >= batch.first + batch.ticks:
                batch = next(batches)
                payloads = split_records(batch.records)
            tick = _read_tick(payloads[place - batch.first])
            # Step by step, so that on_reject can read the right counts.
            self.answered = place
            self.rejected += 1
            self.answered = place + 1
            self._on_reject(Rejected(sequence, self._rejections.pop(sequence), tick))

    def _forget_answered(self) -> None:
        batches = self._batches
        while batches and batches[0].first + batches[0].ticks <= self.answered:
            self.unacked_bytes -= len(batches.popleft().records)
            self._written -= 1

    def _complete(self) -> None:
        if self._open_ticks:
            first = self.sent - self._open_ticks
            self._batches.append(_Batch(first, self._open_ticks, b"".join(self._records)))
            self._records.clear()
            self._open_ticks = self._open_bytes = 0


def _read_tick(payload: bytes) -> RejectedTick:
    try:
        tick = Tick.FromString(payload)
    except DecodeError:
        # Whoever encoded it made it so.
        tick = Tick()
    return RejectedTick(
        *(tick.symbol, tick.price, tick.volume, tick.exchange_timestamp),
        *(tick.volume_decimals, tick.trade_id, tick.excludes, tick.action),
    )
