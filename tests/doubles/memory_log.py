"""A tick log in memory; it keeps the same promises as the one in files."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from aggregator.ticklog.errors import NoCheckpoint, OffsetGone
from aggregator.ticklog.log import Buffer, Checkpoint, Kind, Record

KEPT_CHECKPOINTS = 2


class MemoryLog:
    """Records in a list; what is not done when it is closed in a held state is gone.

    Args:
        former: a closed log whose records and checkpoints this one continues with.
        max_waiting_bytes: more may not wait for ``done``.
    """

    def __init__(
        self, former: MemoryLog | None = None, *, max_waiting_bytes: int = 1_000_000
    ) -> None:
        self._first: int = former._first if former else 0
        self._records: list[Record] = list(former._records) if former else []
        self._checkpoints: dict[int, tuple[Checkpoint, bytes]] = (
            dict(former._checkpoints) if former else {}
        )
        self._max_waiting_bytes = max_waiting_bytes
        self._waiting: deque[tuple[Record, Callable[[int], None]]] = deque()
        self._waiting_bytes = 0
        self._is_held = False
        self._is_closed = False
        self._room = asyncio.Event()
        self.problem = ""

    def hold(self, problem: str = "disk full") -> None:
        """Let nothing be done, as a full disk does."""
        self._is_held = True
        self.problem = problem

    def release(self) -> None:
        """Do what waited."""
        self._is_held = False
        self.problem = ""
        self._finish()

    @property
    def first_offset(self) -> int:
        return self._first

    @property
    def next_offset(self) -> int:
        return self._first + len(self._records) + len(self._waiting)

    def append(self, kind: Kind, time_ns: int, payload: Buffer, done: Callable[[int], None]) -> int:
        if self._is_closed:
            raise RuntimeError("the tick log is closed")
        offset = self.next_offset
        self._waiting.append((Record(offset, kind, time_ns, bytes(payload)), done))
        self._waiting_bytes += len(payload)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._finish)
        return offset

    @property
    def waiting_bytes(self) -> int:
        return self._waiting_bytes

    @property
    def unsynced_bytes(self) -> int:
        return 0

    @property
    def has_room(self) -> bool:
        return not self.problem and self._waiting_bytes <= self._max_waiting_bytes

    async def wait_for_room(self) -> None:
        while not self.has_room and not self._is_closed:
            self._room.clear()
            await self._room.wait()

    def read_from(self, offset: int) -> Iterator[Record]:
        if offset < self._first:
            raise OffsetGone(offset, self._first)
        return iter(self._records[offset - self._first :])

    def truncate(self, before: int) -> None:
        count = min(max(before - self._first, 0), len(self._records))
        del self._records[:count]
        self._first += count

    def checkpoints(self) -> list[Checkpoint]:
        return [self._checkpoints[offset][0] for offset in sorted(self._checkpoints, reverse=True)]

    def load_checkpoint(self, offset: int) -> bytes:
        try:
            return self._checkpoints[offset][1]
        except KeyError:
            raise NoCheckpoint(f"checkpoint {offset}", "there is no such checkpoint") from None

    def save_checkpoint(self, checkpoint: Checkpoint, content: Iterable[Buffer]) -> None:
        self._checkpoints[checkpoint.offset] = checkpoint, b"".join(map(bytes, content))
        for old in sorted(self._checkpoints)[:-KEPT_CHECKPOINTS]:
            del self._checkpoints[old]

    async def close(self) -> None:
        self._is_closed = True
        self._finish()

    def _finish(self) -> None:
        while self._waiting and not self._is_held:
            record, done = self._waiting.popleft()
            self._records.append(record)
            self._waiting_bytes -= len(record.payload)
            done(record.offset)
        self._room.set()
