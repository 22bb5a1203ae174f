"""Open files of trades, plain or compressed, and those inside of a .zip."""

from __future__ import annotations

import gzip
import io
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO, cast

from marketdata.errors import MarketDataError

# Read to know what a file is.
SAMPLE_BYTES = 256 * 1024
_SUFFIXES = frozenset((".gz", ".zst", ".zip", ".csv", ".txt", ".tsv", ".psv", ".parquet"))
STDIN = Path("-")


class BadFile(MarketDataError):
    """A file cannot be read; the message names the file, the row and the reason."""


@dataclass(frozen=True, slots=True)
class Part:
    """One file of trades: a file, or a member of a .zip."""

    path: Path
    member: str = ""
    # Shown in place of the path.
    shown: str = ""

    def __str__(self) -> str:
        return self.shown or (f"{self.path}/{self.member}" if self.member else str(self.path))

    @property
    def name(self) -> str:
        """The name without its folders."""
        return PurePath(self.shown or self.member or self.path.name).name

    @property
    def stem(self) -> str:
        """The name without what says how it is written."""
        name = self.name
        while (suffix := PurePath(name).suffix.lower()) in _SUFFIXES and suffix:
            name = name[: -len(suffix)]
        return name


@dataclass(slots=True)
class Opened:
    """The bytes of a part, as they are when decompressed, after the first of them."""

    sample: bytes
    rest: IO[bytes]
    # How many bytes were read, as they are on disk.
    position: Callable[[], int]

    def reader(self, skip: int = 0) -> io.BufferedReader:
        """Return all bytes after the first ``skip``, which the sample has."""
        return io.BufferedReader(_Chained(self.sample[skip:], self.rest), 1 << 20)


def find_parts(paths: Iterable[Path]) -> list[Part]:
    """Return the files of trades at ``paths``: those of a .zip one by one.

    Raises:
        BadFile: a file cannot be read.
    """
    parts = []
    for path in paths:
        try:
            is_zip = path != STDIN and path.is_file() and zipfile.is_zipfile(path)
            members = _members(path) if is_zip else [""]
        except (OSError, zipfile.BadZipFile) as exc:
            raise BadFile(f"{path}: {_reason(exc)}") from exc
        if not members:
            raise BadFile(f"{path}: has no files in it")
        parts += [Part(path, member) for member in members]
    return parts


def open_part(part: Part, stack: ExitStack) -> Opened:
    """Open a part and read the first bytes.

    Raises:
        BadFile: it cannot be read.
    """
    try:
        raw: IO[bytes] = sys.stdin.buffer if part.path == STDIN else _open(part.path, stack)
        data: IO[bytes] = raw
        if part.member:
            archive = stack.enter_context(zipfile.ZipFile(raw))
            data = stack.enter_context(archive.open(part.member))
        head = _read_up_to(data, 4)
        data = _decompress(io.BufferedReader(_Chained(head, data)), head, stack)
        sample = _read_up_to(data, SAMPLE_BYTES)
    except READ_ERRORS as exc:
        raise BadFile(f"{part}: {_reason(exc)}") from exc
    return Opened(sample, data, raw.tell if raw.seekable() else lambda: 0)


def _members(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return sorted(
            info.filename
            for info in archive.infolist()
            if not info.is_dir() and not info.filename.startswith("__MACOSX/")
        )


def _open(path: Path, stack: ExitStack) -> IO[bytes]:
    return stack.enter_context(path.open("rb"))


def _decompress(data: io.BufferedReader, head: bytes, stack: ExitStack) -> IO[bytes]:
    # By the first bytes: many files have a name that does not tell.
    if head.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", stack.enter_context(gzip.GzipFile(fileobj=data)))
    if head == b"\x28\xb5\x2f\xfd":
        import pyarrow as pa  # noqa: PLC0415  0.2 s and 50 MB, of an extra

        opened: IO[bytes] = stack.enter_context(pa.CompressedInputStream(data, "zstd"))
        return opened
    return data


def _read_up_to(data: IO[bytes], size: int) -> bytes:
    parts = []
    while size > 0 and (part := data.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


class _Chained(io.RawIOBase):
    # Bytes that were read already, then the rest.

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        if self._head:
            part, self._head = self._head[: len(view)], self._head[len(view) :]
        else:
            part = self._rest.read(len(view))
        view[: len(part)] = part
        return len(part)


def reason_of(exc: BaseException) -> str:
    """Return the message of an error of reading, for an operator."""
    return _reason(exc)


def _reason(exc: BaseException) -> str:
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    return str(exc).splitlines()[0] if str(exc) else type(exc).__name__


READ_ERRORS = (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError)
