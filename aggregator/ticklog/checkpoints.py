"""Checkpoint files: written so that a crash leaves all of one or nothing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import structlog

from aggregator.ticklog.codec import (
    FORMAT_VERSION,
    HEADER_SIZE,
    CheckpointHeader,
    crc32c,
    decode_checkpoint_header,
    encode_checkpoint_header,
)
from aggregator.ticklog.errors import NoCheckpoint
from aggregator.ticklog.log import Buffer, Checkpoint
from aggregator.ticklog.segment import list_segments
from aggregator.ticklog.segment_file import sync_directory

log = structlog.get_logger()

# One more than needed: if the newest is damaged, the log has the records after the one before.
KEPT = 2
_SUFFIX = ".ckpt"
_UNFINISHED = ".ckpt-unfinished"
_CHUNK = 1024 * 1024


class CheckpointFiles:
    """The checkpoints in the directory of a log."""

    def __init__(self, directory: Path, release: str) -> None:
        self._directory = directory
        self._release = release
        # What was found in files of this size and time. To read them all again takes a second.
        self._known: dict[tuple[str, int, int], Checkpoint | None] = {}

    def whole(self) -> list[Checkpoint]:
        """Return those that are whole, the newest first; the others are logged once."""
        found = [self._check(path) for path in self.paths()]
        return [checkpoint for checkpoint in found if checkpoint is not None]

    def newest_offset(self) -> int:
        """Return the offset of the newest checkpoint, from the headers alone; 0: there is none."""
        for path in self.paths():
            with contextlib.suppress(NoCheckpoint), _open(path) as file:
                return _read_header(path, file).offset
        return 0

    def load(self, offset: int) -> bytes:
        """Return the content of a checkpoint.

        Raises:
            NoCheckpoint: there is none, or it is not whole.
        """
        path = self.path(offset)
        with _open(path) as file:
            header = _read_header(path, file)
            content = _read(file, header.length)
        if len(content) != header.length or crc32c(content) != header.crc:
            raise NoCheckpoint(path, "the content is damaged")
        return content

    def save(self, checkpoint: Checkpoint, content: Iterable[Buffer]) -> None:
        """Store a checkpoint and remove those that it makes superfluous.

        The records before it are synced first, so that the log never ends before a checkpoint.

        Raises:
            OSError: it cannot be written; nothing of it stays.
        """
        for segment in list_segments(self._directory):
            with contextlib.suppress(FileNotFoundError), _open(segment) as file:
                os.fdatasync(file)
        path = self.path(checkpoint.offset)
        unfinished = path.with_name(f"{path.stem}-{os.getpid()}{_UNFINISHED}")
        try:
            self._write(unfinished, checkpoint, content)
            unfinished.rename(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        sync_directory(self._directory)
        self._remove_old()

    def remove_unfinished(self) -> None:
        """Remove what a crash left of checkpoints that were being written."""
        for path in self._directory.glob(f"*{_UNFINISHED}"):
            path.unlink(missing_ok=True)

    def _write(self, path: Path, checkpoint: Checkpoint, content: Iterable[Buffer]) -> None:
        length = crc = 0
        with path.open("wb") as file:
            # Its place; the values are known at the end.
            file.write(bytes(HEADER_SIZE))
            for part in content:
                for begin in range(0, len(part), _CHUNK):
                    piece = bytes(memoryview(part)[begin : begin + _CHUNK])
                    crc = crc32c(piece, crc)
                    file.write(piece)
                length += len(part)
            header = CheckpointHeader(
                checkpoint.version, checkpoint.offset, length, crc, self._release
            )
            file.seek(0)
            file.write(encode_checkpoint_header(header))
            file.flush()
            os.fsync(file.fileno())

    def _remove_old(self) -> None:
        kept = [checkpoint.offset for checkpoint in self.whole()[:KEPT]]
        if len(kept) == KEPT:
            for path in self.paths():
                if _offset_of(path) < kept[-1]:
                    path.unlink(missing_ok=True)

    def path(self, offset: int) -> Path:
        """Return the file of a checkpoint."""
        return self._directory / f"checkpoint-{offset:020}{_SUFFIX}"

    def paths(self) -> list[Path]:
        """Return the files, the newest first."""
        found = self._directory.glob(f"checkpoint-*{_SUFFIX}")
        return sorted((path for path in found if _offset_of(path) >= 0), reverse=True)

    def _check(self, path: Path) -> Checkpoint | None:
        try:
            status = path.stat()
            key = (path.name, status.st_size, status.st_mtime_ns)
            if key not in self._known:
                self._known[key] = check_checkpoint(path)
            return self._known[key]
        except FileNotFoundError:
            # Removed meanwhile.
            return None
        except NoCheckpoint as exc:
            self._known[key] = None
            log.warning("log_checkpoint_ignored", file=str(path), reason=exc.reason)
            return None


def check_checkpoint(path: Path) -> Checkpoint:
    """Read a whole checkpoint file and return what it is.

    Raises:
        NoCheckpoint: it is damaged, or another release wrote it.
        FileNotFoundError: it was removed.
    """
    with _open(path) as file:
        header = _read_header(path, file)
        left, crc = header.length, 0
        while left and (data := os.read(file, min(left, _CHUNK))):
            crc = crc32c(data, crc)
            left -= len(data)
    if left or crc != header.crc:
        raise NoCheckpoint(path, "the content is damaged")
    return Checkpoint(header.offset, header.state_version)


def _read_header(path: Path, file: int) -> CheckpointHeader:
    header = decode_checkpoint_header(os.read(file, HEADER_SIZE))
    if header is None or header.offset != _offset_of(path):
        raise NoCheckpoint(path, "the header is damaged")
    if header.version != FORMAT_VERSION:
        raise NoCheckpoint(
            path, f"format version {header.version} is read by release {header.release}"
        )
    return header


def _read(file: int, length: int) -> bytes:
    # As a rule one part, which is then not copied.
    parts = []
    while length and (data := os.read(file, length)):
        parts.append(data)
        length -= len(data)
    return b"".join(parts)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[int]:
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError as exc:
        if path.suffix == _SUFFIX:
            raise NoCheckpoint(path, "there is no such file") from exc
        raise
    try:
        yield file
    finally:
        os.close(file)


def _offset_of(path: Path) -> int:
    digits = path.stem.removeprefix("checkpoint-")
    return int(digits) if len(digits) == 20 and digits.isdecimal() else -1
