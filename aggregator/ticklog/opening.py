"""Open the directory of a log: lock it, find its end, cut what a crash left there."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import NamedTuple

import structlog

from aggregator.ticklog.checkpoints import CheckpointFiles
from aggregator.ticklog.errors import CorruptRecord, LogUnusable
from aggregator.ticklog.health import describe
from aggregator.ticklog.reading import End, OnSkip, find_end
from aggregator.ticklog.segment import SegmentReader, Skipped, list_segments, offset_of
from aggregator.ticklog.segment_file import SegmentFile, Sync, reopen_segment, sync_directory

log = structlog.get_logger()

_LOCK = "lock"


class Segment(NamedTuple):
    """A segment file of a log."""

    path: Path
    first_offset: int
    # When its first record arrived; 0: unknown.
    created_ns: int


class Opened(NamedTuple):
    """An existing log, ready to be continued."""

    # In order.
    segments: list[Segment]
    # The last of them, if the next record may go into it.
    file: SegmentFile | None
    next_offset: int


def lock_directory(directory: Path) -> int:
    """Make the directory if it is missing, and lock it; return the file that holds the lock.

    Raises:
        LogUnusable: it cannot be made or written, or another process uses it.
    """
    try:
        if not directory.is_dir():
            directory.mkdir(parents=True)
            sync_directory(directory.parent)
        file = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as exc:
        raise LogUnusable(directory, f"cannot be written: {exc.strerror}") from exc
    try:
        _check_writable(directory)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        holder = os.pread(file, 20, 0).decode("ascii", "replace").strip()
        os.close(file)
        raise LogUnusable(directory, f"another process uses it (pid {holder})") from exc
    except BaseException:
        os.close(file)
        raise
    # Only for the message above.
    with contextlib.suppress(OSError):
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
    return file


def _check_writable(directory: Path) -> None:
    # The lock may have been there.
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        raise LogUnusable(directory, "cannot be written: Permission denied")


def open_log(
    directory: Path, checkpoints: CheckpointFiles, on_skip: OnSkip | None, sync: Sync | None
) -> Opened:
    """Find the end of the log, cut a torn tail, and sync what was written by the last process.

    Raises:
        CorruptRecord: a record is damaged or missing, and ``on_skip`` is None.
        UnknownFormat: another release wrote the log.
        UnknownKind: another release wrote one of its last records.
        LogUnusable: a file cannot be read or synced.
    """
    try:
        checkpoints.remove_unfinished()
        opened = _open_last(directory, on_skip)
        if opened.file is not None and sync is not None:
            # What is read from it now counts as durable.
            opened.file.sync(sync)
        newest = checkpoints.newest_offset()
    except OSError as exc:
        raise LogUnusable(directory, describe(exc)) from exc
    if newest <= opened.next_offset:
        return opened
    return _continue_at(directory, opened, newest, on_skip)


def _continue_at(directory: Path, opened: Opened, newest: int, on_skip: OnSkip | None) -> Opened:
    """Continue at a checkpoint after the end of the log.

    A checkpoint is saved after its records are synced, so records are missing.
    """
    path = opened.segments[-1].path if opened.segments else directory
    position = opened.file.end if opened.file is not None else 0
    if opened.file is not None:
        opened.file.close()
    if on_skip is None:
        reason = f"there is a checkpoint after record {newest - 1}, and the log ends before"
        raise CorruptRecord(path, position, opened.next_offset, reason)
    on_skip(Skipped(path, position, 0, opened.next_offset, newest - opened.next_offset))
    return Opened(opened.segments, None, newest)


def _open_last(directory: Path, on_skip: OnSkip | None) -> Opened:
    segments = [
        Segment(path, offset_of(path), created_ns(path)) for path in list_segments(directory)
    ]
    if not segments:
        return Opened([], None, 0)
    path = segments[-1].path
    end = find_end(path, on_skip)
    if end.torn:
        log.warning(
            "log_tail_cut",
            file=str(path),
            bytes=end.torn,
            position=end.position,
            offset=end.next_offset,
        )
    if end.seed is None:
        _put_aside(path, end)
        return Opened(segments[:-1], None, end.next_offset)
    file = reopen_segment(path, end.seed, end.position, segments[-1].created_ns)
    if end.damaged:
        # So that only readers of the damaged part meet it again.
        file.close()
        return Opened(segments, None, end.next_offset)
    return Opened(segments, file, end.next_offset)


def _put_aside(path: Path, end: End) -> None:
    """Remove a segment whose header is not whole, but keep what may be records."""
    if end.damaged:
        path.rename(path.with_suffix(f"{path.suffix}.corrupt"))
    else:
        path.unlink()


def created_ns(path: Path) -> int:
    """Return the arrival time of the first record of a segment; 0: unknown."""
    with SegmentReader(path) as reader:
        return reader.header.created_ns if reader.header is not None else 0


def next_offset_after(path: Path) -> int:
    """Return the offset after the last segment, from its headers alone."""
    with SegmentReader(path) as reader:
        reader.skip_to(2**63)
        return max(reader.expected, offset_of(path))
