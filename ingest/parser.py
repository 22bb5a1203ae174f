"""Parse the bytes of producers into encoded records of the batch that is being filled."""

from __future__ import annotations

from collections import Counter

import numpy as np

from ingest import kernel
from ingest.packed_rules import PackedRules
from ingest.reports import FeedState
from ingest.ring import BatchRing
from ingest.ticks import TickReader
from marketdata.errors import EmptyFrame, FrameTooLarge, WireError
from marketdata.framing import LENGTH_SIZE
from marketdata.timestamps import UnitHistory
from marketdata.validation import RejectReason, TickRules

# The most bytes in one read.
READ_SIZE = 256 * 1024
# Room before the read for the beginning of a frame whose rest comes with it. A longer beginning
# stays with its connection until the frame is whole.
HEADROOM = 1024

# The first bytes of a producer session. As the length of a frame they would be 1.3 GB.
SESSION_MAGIC = b"MDS2"

# Ticks that the protobuf library reads in a row before the kernel is tried again.
_LONGEST_RUN = 64

# Of the kernel's counts all but the last three count rejects.
_REASONS = [RejectReason(name) for name in (kernel.COUNTS.names or ())[:-3]]
_CONVERSIONS, _UNIT_NS, _UNIT_CHANGES = range(len(_REASONS), len(_REASONS) + 3)


class ReadResult:
    """What became of one read."""

    __slots__ = ("accepted", "failure", "needed", "position", "rejected", "units")

    def __init__(self, units: UnitHistory) -> None:
        # Those of the connection.
        self.units = units
        self.accepted = 0
        self.rejected: Counter[str] = Counter()
        self.failure: WireError | None = None
        # The frame that is not complete: where it begins, relative to the window, and how many of
        # its bytes must be there before it is looked at again.
        self.position = 0
        self.needed = 0


class FrameParser:
    """Parse frames of any connection out of one buffer into the open batch.

    All connections are read into the same buffer: a read is used up before the next, so a
    connection costs no buffer, and this one stays in the processor's cache.
    """

    def __init__(
        self,
        rules: TickRules,
        ring: BatchRing,
        feed: FeedState,
        max_frame_size: int,
        read_size: int = READ_SIZE,
    ) -> None:
        self._rules = rules
        self._reader = TickReader(rules)
        self._ring = ring
        self._feed = feed
        self._max_frame_size = max_frame_size
        buffer = np.zeros(HEADROOM + read_size + kernel.SLACK, np.uint8)
        self._bytes = buffer.data
        self._window_address = buffer.ctypes.data + HEADROOM
        self._packed_rules = PackedRules(rules, max_frame_size)
        self._counts = np.zeros(len(_REASONS) + 3, np.int64)
        #: Where the next read of any connection goes.
        self.window = self._bytes[HEADROOM : HEADROOM + read_size]

    def put_before(self, beginning: bytearray) -> None:
        """Set ``beginning``, of at most HEADROOM bytes, before the window."""
        self._bytes[HEADROOM - len(beginning) : HEADROOM] = beginning

    def between(self, begin: int, end: int) -> memoryview:
        """Return what stands between two positions, relative to the window."""
        return self._bytes[HEADROOM + begin : HEADROOM + end]

    def parse(self, begin: int, end: int, now_ns: int, result: ReadResult) -> None:
        """Parse the frames between two positions, relative to the window, and count the ticks."""
        self._packed_rules.set_time(now_ns)
        ring, window = self._ring, self._window_address
        counts = self._counts
        run = 1
        while True:
            counts[_UNIT_NS] = result.units.unit_ns
            code, position, size, out, ticks = kernel.parse_frames(
                window + begin,
                window + end,
                ring.address,
                ring.room,
                self._packed_rules.numbers,
                counts,
            )
            begin = position - window
            if ticks:
                result.units.unit_ns = int(counts[_UNIT_NS])
                ring.advance(out, ticks)
                result.accepted += ticks
            if code == kernel.UNUSUAL:
                # A producer that sends one unusual tick sends more, and a call of the kernel for
                # each costs as much as the tick itself.
                run = 1 if ticks else min(2 * run, _LONGEST_RUN)
                begin = self._parse_unusual(begin, end, run, now_ns, result)
            elif code != kernel.FULL:
                break
        if code == kernel.BAD_FRAME:
            result.failure = FrameTooLarge(size, self._max_frame_size) if size else EmptyFrame()
        result.position = begin
        result.needed = LENGTH_SIZE + size
        self._count(result)

    def _parse_unusual(
        self, begin: int, end: int, run: int, now_ns: int, result: ReadResult
    ) -> int:
        # Takes at most ``run`` whole frames; returns where the next begins.
        for _ in range(run):
            start = begin + LENGTH_SIZE
            size = int.from_bytes(self.between(begin, start), "big")
            if start > end or not 0 < size <= self._max_frame_size or start + size > end:
                break
            begin = start + size
            self.parse_tick(bytes(self.between(start, begin)), now_ns, result)
        return begin

    def parse_tick(self, payload: bytes, now_ns: int, result: ReadResult) -> None:
        """Parse one tick as the protobuf library reads it."""
        record = self._reader.read(payload, now_ns, result.units)
        if isinstance(record, RejectReason):
            result.rejected[record] += 1
            refusal = self._reader.refusal(payload, now_ns)
            if refusal is not None:
                self._ring.refuse(refusal)
        else:
            self._ring.add(record)
            result.accepted += 1

    def _count(self, result: ReadResult) -> None:
        self._counts[_UNIT_NS] = 0
        counts = self._counts.tolist()
        if any(counts):
            for reason, count in zip(_REASONS, counts, strict=False):
                if count:
                    result.rejected[reason] += count
            self._rules.conversions += counts[_CONVERSIONS]
            result.units.changes += counts[_UNIT_CHANGES]
            self._counts.fill(0)
        self._feed.count(result.accepted, result.rejected)


class ProducerStream:
    """The bytes of one connection, with the frame that a read cut in two.

    After a violation :attr:`failure` says why, and later data is ignored.
    """

    __slots__ = (
        "_beginning",
        "_needed",
        "_parser",
        "accepted",
        "carried_bytes",
        "failure",
        "received_bytes",
        "rejected",
        "session_bytes",
        "units",
    )

    def __init__(self, parser: FrameParser) -> None:
        self._parser = parser
        # The incomplete frame, and how many bytes it needs before it is looked at again.
        self._beginning = bytearray()
        self._needed = LENGTH_SIZE
        self.failure: WireError | None = None
        # If it failed because it is a producer session: the bytes after the magic.
        self.session_bytes: bytes | None = None
        self.received_bytes = 0
        self.accepted = 0
        self.rejected = 0
        self.units = UnitHistory()
        # Bytes copied because a frame came in parts; each byte at most twice.
        self.carried_bytes = 0

    @property
    def has_partial_frame(self) -> bool:
        """Whether a frame was begun and not finished."""
        return bool(self._beginning)

    def receive_data(self, size: int, now_ns: int) -> ReadResult:
        """Use up ``size`` bytes in the parser's window, up to the first violation."""
        self.received_bytes += size
        result = ReadResult(self.units)
        if self.failure is not None:
            return result
        beginning, parser, position = self._beginning, self._parser, 0
        if beginning:
            missing = self._needed - len(beginning)
            if size < missing:
                self._carry(0, size)
                return result
            if len(beginning) > HEADROOM:
                position = missing
                self._carry(0, missing)
                parser.parse_tick(bytes(beginning[LENGTH_SIZE:]), now_ns, result)
            else:
                position = -len(beginning)
                parser.put_before(beginning)
            self.carried_bytes += len(beginning)
            self._beginning = bytearray()
        parser.parse(position, size, now_ns, result)
        self.accepted += result.accepted
        self.rejected += result.rejected.total()
        self.failure = result.failure
        if self.failure is not None:
            self._look_for_session(result.position, size)
        elif result.position < size:
            self._carry(result.position, size)
            self._needed = result.needed
        return result

    def _look_for_session(self, begin: int, end: int) -> None:
        # The first frame of a session has a length that no frame may have.
        start = begin + len(SESSION_MAGIC)
        is_first = not self.accepted and not self.rejected
        if is_first and self._parser.between(begin, start) == SESSION_MAGIC:
            self.session_bytes = bytes(self._parser.between(start, end))

    def _carry(self, begin: int, end: int) -> None:
        self._beginning += self._parser.between(begin, end)
        self.carried_bytes += end - begin
