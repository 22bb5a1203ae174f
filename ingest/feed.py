"""Turn the bytes of one connection into pieces of the batch that is being filled."""

from __future__ import annotations

from collections import Counter

import numpy as np

from ingest import kernel
from ingest.outbox import Outbox
from ingest.ticks import TickReader
from marketdata.errors import EmptyFrame, FrameTooLarge, WireError
from marketdata.framing import LENGTH_SIZE
from marketdata.timestamps import nanoseconds_in
from marketdata.validation import RejectReason, TickRules
from marketdata.wire.market_data_pb2 import Tick

# One read.
READ_SIZE = 256 * 1024
# Before it, for the beginning of a frame whose rest comes with the read. A longer one is put
# together elsewhere.
HEADROOM = 1024

# Ticks that the protobuf library reads in a row before the kernel has another look.
_LONGEST_RUN = 64

_REASONS = (
    (kernel.PRICE_NOT_FINITE, RejectReason.PRICE_NOT_FINITE),
    (kernel.PRICE_NOT_POSITIVE, RejectReason.PRICE_NOT_POSITIVE),
    (kernel.VOLUME_NOT_POSITIVE, RejectReason.VOLUME_NOT_POSITIVE),
    (kernel.TIMESTAMP_NOT_POSITIVE, RejectReason.TIMESTAMP_NOT_POSITIVE),
    (kernel.TIMESTAMP_IN_FUTURE, RejectReason.TIMESTAMP_IN_FUTURE),
)


class Taken:
    """What became of one read."""

    __slots__ = ("accepted", "failure", "needed", "position", "rejected")

    def __init__(self) -> None:
        self.accepted = 0
        self.rejected: Counter[str] = Counter()
        self.failure: WireError | None = None
        # Of the frame that has not arrived as a whole: where it begins, relative to the window, and
        # how many bytes must be there before another look.
        self.position = 0
        self.needed = 0


class Intake:
    """The buffer into which every connection is read, and the way from there to the outbox.

    One for all: a read is used up before the next, so a connection costs no buffer, and the one
    there is stays in the processor's cache.
    """

    def __init__(
        self, rules: TickRules, outbox: Outbox, max_frame_size: int, read_size: int = READ_SIZE
    ) -> None:
        self._rules = rules
        self._reader = TickReader(rules)
        self._outbox = outbox
        self._max_frame_size = max_frame_size
        self._unit_ns = nanoseconds_in(rules.timestamp_unit)
        buffer = np.zeros(HEADROOM + read_size + kernel.SLACK, np.uint8)
        self._address = buffer.ctypes.data
        self._bytes = buffer.data
        self._counts = np.zeros(kernel.COUNTS, np.int64)
        #: Where the next read of any connection goes.
        self.window = self._bytes[HEADROOM : HEADROOM + read_size]

    def put_before(self, beginning: bytearray) -> None:
        """Set ``beginning``, of at most HEADROOM bytes, before the window."""
        self._bytes[HEADROOM - len(beginning) : HEADROOM] = beginning

    def between(self, begin: int, end: int) -> memoryview:
        """Return what stands between two positions, relative to the window."""
        return self._bytes[HEADROOM + begin : HEADROOM + end]

    def take(self, begin: int, end: int, now_ns: int, taken: Taken) -> None:
        """Take the frames between two positions, relative to the window, into the outbox."""
        outbox, take_frames = self._outbox, kernel.take_frames
        stamp = Tick(ingest_timestamp=now_ns).SerializeToString()
        stamp_begin, stamp_end = np.frombuffer(stamp.ljust(16, b"\0"), np.int64).tolist()
        latest_ns = self._rules.latest_ns(now_ns)
        zero = self._address + HEADROOM
        position = zero + begin
        run = 1
        while True:
            code, position, out, ticks, size = take_frames(
                position,
                zero + end,
                outbox.address,
                outbox.room,
                self._max_frame_size,
                self._unit_ns,
                latest_ns,
                stamp_begin,
                stamp_end,
                len(stamp),
                self._counts,
            )
            if ticks:
                outbox.advance(out, ticks)
                taken.accepted += ticks
            if code == kernel.UNUSUAL:
                # Who sends one sends more, and a call of the kernel for each costs as much as the
                # tick itself.
                run = 1 if ticks else min(2 * run, _LONGEST_RUN)
                at = self._take_unusual_frames(position - zero, end, run, now_ns, taken)
                position = zero + at
            elif code != kernel.FULL:
                break
        if code == kernel.BAD_FRAME:
            taken.failure = FrameTooLarge(size, self._max_frame_size) if size else EmptyFrame()
        taken.position = position - zero
        taken.needed = LENGTH_SIZE + size
        self._collect(taken)

    def _take_unusual_frames(
        self, begin: int, end: int, run: int, now_ns: int, taken: Taken
    ) -> int:
        # Takes so many whole frames at most; returns where the next begins.
        for _ in range(run):
            start = begin + LENGTH_SIZE
            size = int.from_bytes(self.between(begin, start), "big")
            if start > end or not 0 < size <= self._max_frame_size or start + size > end:
                break
            begin = start + size
            self.take_unusual(bytes(self.between(start, begin)), now_ns, taken)
        return begin

    def take_unusual(self, payload: bytes, now_ns: int, taken: Taken) -> None:
        """Take one tick into the outbox as the protobuf library reads it."""
        outcome = self._reader.read(payload, now_ns)
        if isinstance(outcome, RejectReason):
            taken.rejected[outcome] += 1
        else:
            self._outbox.add(outcome)
            taken.accepted += 1

    def _collect(self, taken: Taken) -> None:
        counts = self._counts.tolist()
        if any(counts):
            for index, reason in _REASONS:
                if counts[index]:
                    taken.rejected[reason] += counts[index]
            self._rules.conversions += counts[kernel.CONVERSIONS]
            self._counts.fill(0)


class Feed:
    """Apply the feed rules to the bytes of one connection.

    After a violation :attr:`failure` says why, and later data is ignored.
    """

    __slots__ = (
        "_beginning",
        "_intake",
        "_needed",
        "accepted",
        "carried_bytes",
        "failure",
        "received_bytes",
        "rejected",
    )

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        # The unfinished frame, and how many bytes it needs before another look.
        self._beginning = bytearray()
        self._needed = LENGTH_SIZE
        self.failure: WireError | None = None
        self.received_bytes = 0
        self.accepted = 0
        self.rejected: Counter[str] = Counter()
        # Bytes copied because a frame came in parts; each byte at most twice.
        self.carried_bytes = 0

    @property
    def has_partial_frame(self) -> bool:
        """Whether a frame was begun and not finished."""
        return bool(self._beginning)

    def receive_data(self, size: int, now_ns: int) -> Taken:
        """Use up ``size`` bytes in the window of the intake, up to the first violation."""
        self.received_bytes += size
        taken = Taken()
        if self.failure is not None:
            return taken
        beginning, intake, position = self._beginning, self._intake, 0
        if beginning:
            missing = self._needed - len(beginning)
            if size < missing:
                self._carry(0, size)
                return taken
            if len(beginning) > HEADROOM:
                position = missing
                self._carry(0, missing)
                intake.take_unusual(bytes(beginning[LENGTH_SIZE:]), now_ns, taken)
            else:
                position = -len(beginning)
                intake.put_before(beginning)
            self.carried_bytes += len(beginning)
            self._beginning = bytearray()
        intake.take(position, size, now_ns, taken)
        self.accepted += taken.accepted
        if taken.rejected:
            self.rejected.update(taken.rejected)
        self.failure = taken.failure
        if self.failure is None and taken.position < size:
            self._carry(taken.position, size)
            self._needed = taken.needed
        return taken

    def _carry(self, begin: int, end: int) -> None:
        self._beginning += self._intake.between(begin, end)
        self.carried_bytes += end - begin
