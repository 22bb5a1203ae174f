"""Tick logs for tests: made, opened again, filled, damaged."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from aggregator.ticklog.durability import parse_durability
from aggregator.ticklog.file_log import FileLog, LogOptions
from aggregator.ticklog.log import Buffer, Kind, Record, TickLog
from tests.doubles.memory_log import MemoryLog

TIMEOUT_S = 20
L = TypeVar("L", bound=TickLog)
# Some records fill a segment or the waiting room.
SMALL = {"segment_bytes": 8192, "max_bytes": 0, "max_waiting_bytes": 1_000_000}


class Reopenable(Protocol):
    """A log that can be opened again after it was closed."""

    def open(self) -> TickLog: ...


class InMemory:
    """A log in memory, and the same records again."""

    def __init__(self) -> None:
        self._last: MemoryLog | None = None

    def open(self) -> TickLog:
        self._last = MemoryLog(self._last)
        return self._last


class InFiles:
    """A log in a directory, with small segments that are dropped as soon as they may be."""

    def __init__(self, directory: Path, mode: str) -> None:
        self._directory = directory
        self._mode = mode

    def open(self) -> TickLog:
        return FileLog(self._directory, options(self._mode, **SMALL))


def options(mode: str = "batch", **others: Any) -> LogOptions:
    """Return options with the durability that a setting names."""
    return LogOptions(durability=parse_durability(mode), **others)


@contextlib.asynccontextmanager
async def opened(make: Callable[[], L]) -> AsyncIterator[L]:
    """Open a log for the time of the context."""
    log = make()
    try:
        yield log
    finally:
        await log.close()


class Acks:
    """The offsets that are done, and the wait for them."""

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self._changed = asyncio.Event()

    def __call__(self, offset: int) -> None:
        self.offsets.append(offset)
        self._changed.set()

    async def wait_for(self, count: int) -> None:
        """Wait until so many records are done."""
        async with asyncio.timeout(TIMEOUT_S):
            while len(self.offsets) < count:
                self._changed.clear()
                await self._changed.wait()


class Problems:
    """What a log told, and the wait for it."""

    def __init__(self) -> None:
        self._told: asyncio.Queue[str] = asyncio.Queue()

    def __call__(self, problem: str) -> None:
        self._told.put_nowait(problem)

    async def next(self) -> str:
        """Wait for the next one."""
        async with asyncio.timeout(TIMEOUT_S):
            return await self._told.get()

    def is_empty(self) -> bool:
        """Say whether all were taken."""
        return self._told.empty()


async def append_all(log: TickLog, payloads: Iterable[Buffer], kind: Kind = Kind.BATCH) -> Acks:
    """Append records, with their offsets as times, and wait until all are done."""
    acks = Acks()
    count = 0
    for payload in payloads:
        log.append(kind, log.next_offset, payload, acks)
        count += 1
    await acks.wait_for(count)
    return acks


async def write_log(
    directory: Path, payloads: Iterable[Buffer], log_options: LogOptions | None = None
) -> None:
    """Make or continue a log in files, and close it."""
    async with opened(lambda: FileLog(directory, log_options or options())) as log:
        await append_all(log, payloads)


def payloads(records: Iterable[Record]) -> list[bytes]:
    """Return what the records hold."""
    return [record.payload for record in records]
