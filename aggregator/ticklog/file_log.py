"""The tick log in files of one directory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from aggregator.ticklog.checkpoints import CheckpointFiles
from aggregator.ticklog.codec import MAX_PAYLOAD
from aggregator.ticklog.durability import Durability
from aggregator.ticklog.errors import OffsetGone
from aggregator.ticklog.health import LogHealth
from aggregator.ticklog.log import Buffer, Checkpoint, Kind, Record
from aggregator.ticklog.opening import Segment, lock_directory, open_log
from aggregator.ticklog.reading import OnSkip, read_segments
from aggregator.ticklog.release import RELEASE
from aggregator.ticklog.segment import Skipped, offset_of
from aggregator.ticklog.segment_file import SegmentFile, Sync, Waiting
from aggregator.ticklog.writer import LogThread, WriterPlan
from marketdata.timestamps import NS_PER_S

log = structlog.get_logger()

INTERVAL_100_MS = Durability("interval", 0.1)


@dataclass(frozen=True, slots=True)
class LogOptions:
    """How a log in files is kept."""

    durability: Durability = INTERVAL_100_MS
    segment_bytes: int = 128 * 1024 * 1024
    # Segments that may be dropped are, when all together have more bytes, or when they are older;
    # None: no limit.
    max_bytes: int | None = None
    max_age_s: float | None = None
    # There is no room while more bytes wait in memory, more are written and not synced, or a sync
    # takes longer. The last two bound what a loss of power costs with an interval.
    max_waiting_bytes: int = 64 * 1024 * 1024
    max_unsynced_bytes: int = 256 * 1024 * 1024
    max_sync_s: float = 1.0
    # How long the last records may take when the log is closed.
    close_s: float = 5.0


def _ignore(_: str) -> None:
    pass


class FileLog:
    """A tick log in segment files; one process writes it, others may read it meanwhile.

    It is made in the event loop, where ``done`` and ``tell`` are called. It reads the last segment
    first, which takes some tenths of a second.

    Args:
        directory: is made if it is missing.
        options: how it is kept.
        skip_corrupt: leave damaged records out instead of raising CorruptRecord.
        tell: called with a problem, such as "disk full", and with "" when the log works again.
        sync: asks the disk to keep a file.

    Raises:
        LogUnusable: the directory cannot be used.
        CorruptRecord: a record is damaged, and valid ones follow.
        UnknownFormat: another release wrote the log.
        UnknownKind: another release wrote one of its last records.
    """

    def __init__(
        self,
        directory: Path,
        options: LogOptions | None = None,
        *,
        skip_corrupt: bool = False,
        tell: Callable[[str], None] = _ignore,
        sync: Sync = os.fdatasync,
    ) -> None:
        self._options = options = options or LogOptions()
        self._directory = directory
        self._loop = asyncio.get_running_loop()
        self._lock = lock_directory(directory)
        try:
            #: What was left out because it is damaged.
            self.skipped: list[Skipped] = []
            self._on_skip: OnSkip | None = self._skip if skip_corrupt else None
            self._checkpoints = CheckpointFiles(directory, RELEASE)
            opened = open_log(
                directory,
                self._checkpoints,
                self._on_skip,
                sync if options.durability.syncs else None,
            )
        except BaseException:
            os.close(self._lock)
            raise
        self._segments = opened.segments
        self._next_offset = opened.next_offset
        self._waiting_bytes = 0
        self._room = asyncio.Event()
        self._is_closed = False
        self._removals: set[asyncio.Future[None]] = set()
        self._tell = tell
        self._health = LogHealth(directory, self._loop, self._on_problem)
        plan = WriterPlan(directory, options.durability, options.segment_bytes, RELEASE, sync)
        self._thread = LogThread(
            plan,
            self._loop,
            self._health,
            on_done=self._on_done,
            on_synced=self._room.set,
            on_segment=self._on_segment,
        )
        self._thread.start(opened.file, opened.next_offset)

    @property
    def problem(self) -> str:
        """Why records cannot be written now; "" while they can."""
        return self._health.problem

    @property
    def first_offset(self) -> int:
        """The offset of the oldest record that is kept."""
        return self._segments[0].first_offset if self._segments else self._next_offset

    @property
    def next_offset(self) -> int:
        """The offset of the next record."""
        return self._next_offset

    def append(self, kind: Kind, time_ns: int, payload: Buffer, done: Callable[[int], None]) -> int:
        """Append a record and return its offset; never waits."""
        if self._is_closed:
            raise RuntimeError("the tick log is closed")
        if len(payload) > MAX_PAYLOAD:
            raise ValueError(f"a record of {len(payload)} bytes, the limit is {MAX_PAYLOAD}")
        offset = self._next_offset
        self._next_offset = offset + 1
        record = Waiting(offset, kind, time_ns, payload, done)
        self._waiting_bytes += record.size
        self._thread.put(record)
        return offset

    @property
    def waiting_bytes(self) -> int:
        """How many bytes are not written yet."""
        return self._waiting_bytes

    @property
    def unsynced_bytes(self) -> int:
        """How many bytes are written, and a sync is due for them."""
        return self._thread.unsynced_bytes

    @property
    def has_room(self) -> bool:
        """Whether the log works, and few enough bytes wait to be written and synced."""
        options, thread = self._options, self._thread
        began = thread.sync_began
        return (
            not self._health.problem
            and self._waiting_bytes <= options.max_waiting_bytes
            and thread.unsynced_bytes <= options.max_unsynced_bytes
            and (began is None or time.monotonic() - began <= options.max_sync_s)
        )

    async def wait_for_room(self) -> None:
        """Wait until there is room."""
        while not self.has_room and not self._is_closed:
            self._room.clear()
            await self._room.wait()

    def read_from(self, offset: int) -> Iterator[Record]:
        """Give the records from ``offset`` to the last that is written."""
        if offset < self.first_offset:
            raise OffsetGone(offset, self.first_offset)
        segments = list(self._segments)
        index = bisect_right(segments, offset, key=lambda segment: segment.first_offset) - 1
        paths = [segment.path for segment in segments[max(index, 0) :]]
        return read_segments(paths, offset, self._thread.written_offset, self._on_skip)

    def truncate(self, before: int) -> None:
        """Allow that records before an offset are dropped; never waits.

        Whole segments are, while all have more bytes than the limit, or they are too old.
        """
        dropped = []
        while len(self._segments) > 1 and self._segments[1].first_offset <= before:
            if not self._is_over_limit():
                break
            dropped.append(self._segments.pop(0).path)
        if dropped:
            log.info(
                "log_segments_dropped",
                log=str(self._directory),
                segments=len(dropped),
                first_offset=self.first_offset,
            )
            removal = self._loop.run_in_executor(None, _remove, dropped)
            self._removals.add(removal)
            removal.add_done_callback(self._removals.discard)

    def checkpoints(self) -> list[Checkpoint]:
        """Return the checkpoints that are whole, the newest first."""
        return self._checkpoints.whole()

    def load_checkpoint(self, offset: int) -> bytes:
        """Return the content of a checkpoint."""
        return self._checkpoints.load(offset)

    def save_checkpoint(self, checkpoint: Checkpoint, content: Iterable[Buffer]) -> None:
        """Store a checkpoint; blocks."""
        self._checkpoints.save(checkpoint, content)

    async def close(self) -> None:
        """Write and sync what waits, as far as possible in the time for it, then close."""
        if self._is_closed:
            return
        self._is_closed = True
        self._room.set()
        self._thread.stop()
        ended = asyncio.shield(self._thread.ended)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended, self._options.close_s)
        if not self._thread.ended.done():
            self._thread.give_up()
            await asyncio.wait([self._thread.ended], timeout=1.0)
        if self._waiting_bytes:
            # None of them was acknowledged.
            log.error("log_not_written", log=str(self._directory), bytes=self._waiting_bytes)
        await asyncio.gather(*self._removals)
        os.close(self._lock)

    def _on_done(self, records: list[Waiting]) -> None:
        for record in records:
            self._waiting_bytes -= record.size
            try:
                record.done(record.offset)
            except Exception as exc:
                context = {"message": "done of a tick log record failed", "exception": exc}
                self._loop.call_exception_handler(context)
        self._room.set()

    def _on_problem(self, problem: str) -> None:
        self._room.set()
        self._tell(problem)

    def _on_segment(self, file: SegmentFile) -> None:
        # In the thread of the writer; append is atomic.
        self._segments.append(Segment(file.path, offset_of(file.path), file.created_ns))

    def _is_over_limit(self) -> bool:
        options = self._options
        if options.max_age_s is not None:
            # The first record of the next segment came after all of this one.
            age_ns = time.time_ns() - self._segments[1].created_ns
            if age_ns > options.max_age_s * NS_PER_S:
                return True
        if options.max_bytes is None:
            return False
        total = 0
        for segment in self._segments:
            with contextlib.suppress(FileNotFoundError):
                total += segment.path.stat().st_size
        return total > options.max_bytes

    def _skip(self, skipped: Skipped) -> None:
        self.skipped.append(skipped)
        log_skipped(skipped)


def log_skipped(skipped: Skipped) -> None:
    """Log a damaged part that is left out."""
    log.error(
        "log_records_skipped",
        file=str(skipped.path),
        position=skipped.position,
        bytes=skipped.bytes,
        offset=skipped.offset,
        records=skipped.records,
    )


def _remove(paths: list[Path]) -> None:
    # The oldest first, so that a crash leaves no hole.
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as exc:
            log.warning("log_segment_not_removed", file=str(path), reason=exc.strerror)
            return
