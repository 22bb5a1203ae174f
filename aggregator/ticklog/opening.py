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
from aggregator.ticklog.segment_file import SegmentFile, reopen_segment

log = structlog.get_logger()

_LOCK = "lock"


class Opened(NamedTuple):
    """An existing log, ready to be continued."""

    # The segments in order.
    paths: list[Path]
    # The last of them, if the next record may go into it.
    file: SegmentFile | None
    next_offset: int


def lock_directory(directory: Path) -> int:
    """Make the directory if it is missing, and lock it; return the file that holds the lock.

    Raises:
        LogUnusable: it cannot be made or written, or another process uses it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
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
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise LogUnusable(directory, "cannot be written: Permission denied")


def open_log(directory: Path, checkpoints: CheckpointFiles, on_skip: OnSkip | None) -> Opened:
    """Find the end of the log and cut a torn tail.

    Raises:
        CorruptRecord: a record is damaged or missing, and ``on_skip`` is None.
        UnknownFormat: another release wrote the log.
        LogUnusable: a file cannot be read.
    """
    try:
        checkpoints.remove_unfinished()
        opened = _open_last(directory, on_skip)
    except OSError as exc:
        raise LogUnusable(directory, describe(exc)) from exc
    newest = next((checkpoint.offset for checkpoint in checkpoints.whole()), 0)
    if newest <= opened.next_offset:
        return opened
    # A checkpoint is saved after its records are synced.
    path = opened.paths[-1] if opened.paths else directory
    position = opened.file.end if opened.file is not None else 0
    if on_skip is None:
        raise CorruptRecord(
            path,
            position,
            opened.next_offset,
            f"there is a checkpoint after record {newest - 1}, and the log ends before",
        )
    on_skip(Skipped(path, position, 0, opened.next_offset, newest - opened.next_offset))
    if opened.file is not None:
        opened.file.close()
    return Opened(opened.paths, None, newest)


def _open_last(directory: Path, on_skip: OnSkip | None) -> Opened:
    paths = list_segments(directory)
    if not paths:
        return Opened([], None, 0)
    path = paths[-1]
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
        return Opened(paths[:-1], None, end.next_offset)
    file = reopen_segment(path, end.seed, end.position, created_ns(path))
    if end.damaged:
        # So that only readers of the damaged part meet it again.
        file.close()
        return Opened(paths, None, end.next_offset)
    return Opened(paths, file, end.next_offset)


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
