"""What the aggregator needs of a tick log. Files play this role; later Kafka does."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

# Anything with the buffer protocol that is one run of bytes.
Buffer = bytes | bytearray | memoryview


class Kind(enum.IntEnum):
    """What a record holds. The numbers are part of the file format."""

    # A serialized TickBatch of a producer.
    BATCH = 1
    # Everything else that changes the state: see aggregator/machine/inputs.py.
    START = 2
    FEED_OPENED = 3
    FEED_CLOSED = 4
    CLOCK = 5
    WATCH = 6
    WATCH_ENDED = 7


class Record(NamedTuple):
    """One input of the aggregator, as it came."""

    # 0, 1, 2, ... in the order of the log.
    offset: int
    kind: Kind
    # When it arrived, in ns.
    time_ns: int
    payload: bytes


class Checkpoint(NamedTuple):
    """The whole state after the records before ``offset``."""

    offset: int
    # Changes with the layout of the state.
    version: int


class TickLog(Protocol):
    """An append-only sequence of records, and checkpoints of the state that follows from them."""

    @property
    def first_offset(self) -> int:
        """The offset of the oldest record that is kept."""

    @property
    def next_offset(self) -> int:
        """The offset of the next record."""

    def append(self, kind: Kind, time_ns: int, payload: Buffer, done: Callable[[int], None]) -> int:
        """Append a record and return its offset; never waits.

        Args:
            kind: what it holds.
            time_ns: when it arrived.
            payload: is not changed until ``done`` is called.
            done: called in the event loop with the offset when the record is as durable as the log
                is configured; the calls come in the order of the records. While the log cannot be
                written, nothing is called and nothing is lost.
        """

    @property
    def problem(self) -> str:
        """Why records cannot be written now, such as "disk full"; "" while they can."""

    @property
    def waiting_bytes(self) -> int:
        """How many bytes are not written yet."""

    @property
    def unsynced_bytes(self) -> int:
        """How many bytes are written, and a sync is due for them."""

    @property
    def has_room(self) -> bool:
        """Whether a producer may send more: the log works, and few enough bytes wait."""

    async def wait_for_room(self) -> None:
        """Wait until there is room, or the log is closed; producers are slowed down meanwhile."""

    def read_from(self, offset: int) -> Iterator[Record]:
        """Give the records from ``offset`` on, up to the last that is written as of now.

        Raises:
            OffsetGone: the record was truncated.
            CorruptRecord: a record in the middle does not have its checksum.
        """

    def truncate(self, before: int) -> None:
        """Allow that records before an offset are forgotten; never waits.

        Nothing else ever forgets a record. How many of them go is up to the log: it may have limits
        of bytes and age, and forget whole segments only.
        """

    def checkpoints(self) -> list[Checkpoint]:
        """Return the checkpoints that are whole, the newest first."""

    def load_checkpoint(self, offset: int) -> bytes:
        """Return the content of a checkpoint.

        Raises:
            NoCheckpoint: there is none at this offset, or it is not whole.
        """

    def save_checkpoint(self, checkpoint: Checkpoint, content: Iterable[Buffer]) -> None:
        """Store a checkpoint, so that a crash leaves either all of it or nothing; blocks.

        The two newest are kept. The records before it become durable first, whatever the log is
        configured to do, so that the log never ends before a checkpoint.
        """

    async def close(self) -> None:
        """Write and sync what waits, as far as possible in the time for it, then close."""
