"""Write records in a thread of its own, and sync them in time."""

from __future__ import annotations

import os
import threading
import time
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

import structlog

from aggregator.ticklog.codec import HEADER_SIZE
from aggregator.ticklog.durability import Durability
from aggregator.ticklog.health import LogHealth, describe
from aggregator.ticklog.loop_calls import call_in
from aggregator.ticklog.segment_file import (
    MAX_RECORDS,
    SegmentFile,
    Sync,
    Waiting,
    create_segment,
)

log = structlog.get_logger()

# Records that become done together; the first should not wait for too many others.
MAX_GROUP_BYTES = 16 * 1024 * 1024
MAX_GROUP_RECORDS = 4096
FIRST_RETRY_S = 0.05
MAX_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class WriterPlan:
    """Where and how records are written."""

    directory: Path
    durability: Durability
    segment_bytes: int
    release: str
    sync: Sync = os.fdatasync


class LogThread:
    """Write the records that are put, in order, and call back in the event loop.

    With an interval a second thread syncs, so that records do not wait for the disk.

    Args:
        plan: where and how.
        loop: the event loop, where the callbacks run.
        health: hears of problems.
        on_done: called with consecutive records that are as durable as the plan says.
        on_synced: called after each sync of the second thread.
        on_segment: called by the thread with each new segment.
    """

    def __init__(
        self,
        plan: WriterPlan,
        loop: AbstractEventLoop,
        health: LogHealth,
        *,
        on_done: Callable[[list[Waiting]], None],
        on_synced: Callable[[], None],
        on_segment: Callable[[SegmentFile], None],
    ) -> None:
        self._plan = plan
        self._loop = loop
        self._health = health
        self._on_done = on_done
        self._on_synced = on_synced
        self._on_segment = on_segment
        self._queue: SimpleQueue[Waiting | None] = SimpleQueue()
        self._file: SegmentFile | None = None
        #: The record after the last one in the files.
        self.written_offset = 0
        #: When the sync began that goes on now.
        self.sync_began: float | None = None
        self._sync_lock = threading.Lock()
        self._has_unsynced = threading.Event()
        self._stop_syncing = threading.Event()
        self._give_up = threading.Event()
        self.ended: Future[None] = loop.create_future()
        # Daemons, since a write to a broken disk may never end.
        self._thread = threading.Thread(target=self._run, name="tick-log", daemon=True)
        self._syncer = threading.Thread(target=self._sync_for_ever, name="tick-sync", daemon=True)

    @property
    def unsynced_bytes(self) -> int:
        """How many bytes are written that a sync is still due for."""
        file = self._file
        return file.unsynced if file is not None and self._plan.durability.syncs else 0

    def start(self, file: SegmentFile | None, next_offset: int) -> None:
        """Begin, at the end of a segment or with a new one."""
        self._file = file
        self.written_offset = next_offset
        self._thread.start()
        if self._plan.durability.mode == "interval":
            self._syncer.start()

    def put(self, record: Waiting) -> None:
        """Queue a record; never waits."""
        self._queue.put(record)

    def stop(self) -> None:
        """End after the records that were put; :attr:`ended` tells when."""
        self._queue.put(None)

    def give_up(self) -> None:
        """End although records cannot be written."""
        self._give_up.set()

    def _run(self) -> None:
        try:
            goes_on = True
            while goes_on and not self._give_up.is_set():
                group, goes_on = self._take()
                self._write(group)
            self._close()
        except Exception as exc:  # A fault of ours: without this, everybody would wait in silence.
            log.error("log_thread_failed", exc_info=True)
            self._health.report("thread", f"internal error: {exc}")
        finally:
            call_in(self._loop, self._end)

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def _take(self) -> tuple[list[Waiting], bool]:
        """Return all that waits, and whether more may come."""
        group: list[Waiting] = []
        size = 0
        record = self._queue.get()
        try:
            while record is not None:
                group.append(record)
                size += record.size
                if size >= MAX_GROUP_BYTES or len(group) >= MAX_GROUP_RECORDS:
                    return group, True
                record = self._queue.get_nowait()
        except Empty:
            return group, True
        return group, False

    def _write(self, group: list[Waiting]) -> None:
        written = done = 0
        retry_s = FIRST_RETRY_S
        while written < len(group):
            error: OSError | None = None
            try:
                file = self._file_for(group[written])
                if file is None:
                    return
                count, error = file.write(
                    group[written : written + MAX_RECORDS], self._plan.segment_bytes
                )
            except OSError as exc:
                count, error = 0, exc
            if count:
                written += count
                retry_s = FIRST_RETRY_S
                self.written_offset = group[written - 1].offset + 1
            if error is None:
                self._health.report("write", "")
                continue
            if not self._finish(group[done:written]):
                return
            done = written
            self._health.report("write", describe(error))
            if self._give_up.wait(retry_s):
                return
            retry_s = min(2 * retry_s, MAX_RETRY_S)
        self._finish(group[done:])

    def _finish(self, records: list[Waiting]) -> bool:
        if not records:
            return True
        mode = self._plan.durability.mode
        if mode == "batch" and not self._sync(self._give_up):
            return False
        call_in(self._loop, self._on_done, records)
        if mode == "interval":
            self._has_unsynced.set()
        return True

    def _file_for(self, record: Waiting) -> SegmentFile | None:
        """Return the segment for a record; None: the last one cannot be synced.

        A segment is synced before the next one begins, so only the last one can lose its end.
        """
        file = self._file
        if file is not None:
            if file.end == HEADER_SIZE or file.end + record.size <= self._plan.segment_bytes:
                return file
            if self._plan.durability.syncs and not self._sync(self._give_up):
                return None
            with self._sync_lock:
                self._file = None
                file.close()
        self._file = create_segment(
            self._plan.directory,
            record.offset,
            created_ns=record.time_ns,
            release=self._plan.release,
            sync=self._plan.sync if self._plan.durability.syncs else None,
        )
        self._on_segment(self._file)
        return self._file

    def _sync(self, stop: threading.Event) -> bool:
        """Sync until it works; return False if ``stop`` came first."""
        retry_s = FIRST_RETRY_S
        while True:
            try:
                self._sync_once()
            except OSError as exc:
                self._health.report("sync", describe(exc))
                if stop.wait(retry_s):
                    return False
                retry_s = min(2 * retry_s, MAX_RETRY_S)
            else:
                self._health.report("sync", "")
                return True

    def _sync_once(self) -> None:
        with self._sync_lock:
            if self._file is None or not self._file.unsynced:
                return
            self.sync_began = time.monotonic()
            try:
                self._file.sync(self._plan.sync)
            finally:
                self.sync_began = None

    def _sync_for_ever(self) -> None:
        while True:
            self._has_unsynced.wait()
            if self._stop_syncing.wait(self._plan.durability.interval_s):
                return
            self._has_unsynced.clear()
            if not self._sync(self._stop_syncing):
                return
            call_in(self._loop, self._on_synced)

    def _close(self) -> None:
        if self._syncer.is_alive():
            self._stop_syncing.set()
            self._has_unsynced.set()
            self._syncer.join()
        if self._plan.durability.syncs:
            self._sync(self._give_up)
        if self._file is not None:
            self._file.close()
