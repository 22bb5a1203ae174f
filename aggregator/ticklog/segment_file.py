"""The segment that is being written."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from bisect import bisect_right
from collections.abc import Callable, Sequence
from os import pwritev
from pathlib import Path
from typing import NamedTuple

from aggregator.ticklog.codec import (
    HEADER_SIZE,
    RECORD_HEADER_SIZE,
    SegmentHeader,
    encode_record_header,
    encode_segment_header,
)
from aggregator.ticklog.log import Buffer, Kind
from aggregator.ticklog.segment import segment_path

# Asks the disk to keep a file; os.fdatasync.
Sync = Callable[[int], None]
# Linux takes 1024 buffers in one call, and a record has two.
MAX_RECORDS = 512
# Bytes that are read and written again together after a failed sync.
_REWRITE = 1024 * 1024


class Waiting(NamedTuple):
    """A record that is not written yet."""

    offset: int
    kind: Kind
    time_ns: int
    payload: Buffer
    done: Callable[[int], None]

    @property
    def size(self) -> int:
        """Its bytes in the file."""
        return RECORD_HEADER_SIZE + len(self.payload)


class SegmentFile:
    """A segment that is open for writing.

    One thread writes and one thread syncs; they may do so at the same time.
    """

    def __init__(self, path: Path, file: int, seed: int, end: int, created_ns: int) -> None:
        self.path = path
        self.created_ns = created_ns
        self._file = file
        self._seed = seed
        #: After the last whole record.
        self.end = end
        #: Before this, everything is on the disk. The header is synced when the file is made.
        self.synced = HEADER_SIZE
        # A failed sync may leave pages that are marked as written although they are not.
        self._must_rewrite = False

    @property
    def unsynced(self) -> int:
        """How many bytes are written and not synced."""
        return self.end - self.synced

    def write(self, records: Sequence[Waiting], max_end: int) -> tuple[int, OSError | None]:
        """Append up to MAX_RECORDS while the file ends before ``max_end``, at least one.

        Returns:
            The number of whole records written, and why not all of these are. Of a record that is
            not whole, nothing stays in the file.
        """
        buffers: list[Buffer] = []
        ends: list[int] = []
        end = self.end
        for offset, kind, time_ns, payload, _ in records:
            size = RECORD_HEADER_SIZE + len(payload)
            if ends and end + size > max_end:
                break
            buffers += encode_record_header(self._seed, kind, offset, time_ns, payload)
            end += size
            ends.append(end)
        position, error = _write_at(self._file, buffers, self.end)
        count = bisect_right(ends, position)
        if count:
            self.end = ends[count - 1]
        if error is not None:
            # Else it may stay for ever: the next record may go into another segment.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self.end)
        return count, error

    def sync(self, sync: Sync) -> None:
        """Have the disk keep what is written.

        Raises:
            OSError: it does not; the next call writes everything again that it may not have.
        """
        end = self.end
        if self._must_rewrite:
            self._rewrite(self.synced, end)
        try:
            sync(self._file)
        except OSError:
            self._must_rewrite = True
            raise
        self._must_rewrite = False
        self.synced = end

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _rewrite(self, begin: int, end: int) -> None:
        # After an error the kernel takes the pages for clean, so that another sync would succeed
        # and write nothing. Written again they are dirty again.
        for position in range(begin, end, _REWRITE):
            data = os.pread(self._file, min(_REWRITE, end - position), position)
            _write_whole(self._file, data, position)


def create_segment(
    directory: Path, first_offset: int, *, created_ns: int, release: str, sync: Sync | None
) -> SegmentFile:
    """Make an empty segment and its entry in the directory.

    Raises:
        OSError: it cannot be made; what there is of it is no segment, and may be replaced.
    """
    path = segment_path(directory, first_offset)
    seed = secrets.randbits(32)
    # There may be the rest of an attempt.
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        header = encode_segment_header(SegmentHeader(seed, first_offset, created_ns, release))
        _write_whole(file, header, 0)
        if sync is not None:
            sync(file)
            sync_directory(directory)
    except BaseException:
        os.close(file)
        raise
    return SegmentFile(path, file, seed, HEADER_SIZE, created_ns)


def reopen_segment(path: Path, seed: int, end: int, created_ns: int) -> SegmentFile:
    """Open the last segment again, and cut what is after ``end``."""
    file = os.open(path, os.O_RDWR)
    if os.fstat(file).st_size > end:
        os.ftruncate(file, end)
    return SegmentFile(path, file, seed, end, created_ns)


def sync_directory(directory: Path) -> None:
    """Have the disk keep the names of the files."""
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _write_whole(file: int, data: bytes, position: int) -> None:
    _, error = _write_at(file, [data], position)
    if error is not None:
        raise error


def _write_at(file: int, buffers: Sequence[Buffer], position: int) -> tuple[int, OSError | None]:
    """Write all buffers; return the position after the last byte written, and an error."""
    rest: list[Buffer] = list(buffers)
    try:
        while rest:
            written = pwritev(file, rest, position)
            if written == 0 and any(len(buffer) for buffer in rest):
                return position, OSError(errno.EIO, "nothing could be written")
            position += written
            rest = _after(rest, written)
    except OSError as exc:
        return position, exc
    return position, None


def _after(buffers: list[Buffer], written: int) -> list[Buffer]:
    for index, buffer in enumerate(buffers):
        if written < len(buffer):
            return [memoryview(buffer)[written:], *buffers[index + 1 :]]
        written -= len(buffer)
    return []
