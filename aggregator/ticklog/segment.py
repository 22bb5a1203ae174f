"""Read one segment file: its records, and what follows a damaged place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

import google_crc32c
import numpy as np

from aggregator.ticklog.codec import (
    FORMAT_VERSION,
    HEADER_SIZE,
    KINDS,
    MAX_PAYLOAD,
    RECORD_HEADER,
    RECORD_HEADER_SIZE,
    SegmentHeader,
    decode_segment_header,
)
from aggregator.ticklog.errors import UnknownFormat, UnknownKind
from aggregator.ticklog.log import Record

SUFFIX = ".log"
# More than any offset.
NO_END = 2**64
# Bytes per read: few calls, and what is parsed is still in the processor's cache.
_CHUNK = 1024 * 1024
# Of any release; it keeps the search for records quick.
_MAX_KIND = 255


class Place(NamedTuple):
    """Where a record begins."""

    position: int
    offset: int


class Skipped(NamedTuple):
    """A damaged part that was left out."""

    path: Path
    position: int
    bytes: int
    # The first record that is missing, and how many are.
    offset: int
    records: int


def segment_path(directory: Path, first_offset: int) -> Path:
    """Return the file of the segment that begins with an offset."""
    return directory / f"{first_offset:020}{SUFFIX}"


def offset_of(path: Path) -> int:
    """Return the offset of the first record of a segment."""
    return int(path.stem)


def list_segments(directory: Path) -> list[Path]:
    """Return the segment files, the oldest first."""
    names = (path for path in directory.iterdir() if path.suffix == SUFFIX)
    return sorted(path for path in names if len(path.stem) == 20 and path.stem.isdecimal())


class SegmentReader:
    """Read a segment from its first record on; a context that closes the file.

    Raises:
        UnknownFormat: another release wrote it.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDONLY)
        try:
            #: None: the header is damaged, and nothing can be read without it.
            self.header = self._read_header()
        except BaseException:
            os.close(self._file)
            raise
        #: Where the next record begins, and its offset.
        self.position = HEADER_SIZE if self.header else 0
        self.expected = offset_of(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def _read_header(self) -> SegmentHeader | None:
        header = decode_segment_header(os.pread(self._file, HEADER_SIZE, 0))
        if header is None:
            return None
        if header.version != FORMAT_VERSION:
            raise UnknownFormat(self.path, header.version, header.release, FORMAT_VERSION)
        # Else the file was renamed.
        return header if header.first_offset == offset_of(self.path) else None

    def size(self) -> int:
        """Return the present size of the file."""
        return os.fstat(self._file).st_size

    def records(self, until: int = NO_END) -> Iterator[Record]:
        """Give the records from :attr:`position` on, up to the first that is not whole and valid.

        Args:
            until: stop before the record with this offset.

        Raises:
            UnknownKind: a valid record holds something that this release does not know.
        """
        if self.header is None:
            return
        seed = self.header.seed
        unpack, extend, size = RECORD_HEADER.unpack_from, google_crc32c.extend, RECORD_HEADER_SIZE
        new, kinds, file = tuple.__new__, KINDS, self._file
        wanted = _CHUNK
        expected = self.expected
        while expected < until:
            start = self.position
            data = os.pread(file, wanted, start)
            at, needed, last = 0, size, len(data) - size
            while at <= last:
                crc, length, offset, time_ns, kind = unpack(data, at)
                if offset != expected or length > MAX_PAYLOAD:
                    return
                body = at + size
                end = body + length
                if end > len(data):
                    needed = end - at
                    break
                payload = data[body:end]
                if extend(extend(seed, data[at + 4 : body]), payload) != crc:
                    return
                if kind not in kinds:
                    raise UnknownKind(self.path, kind, offset, self.header.release)
                at = end
                expected += 1
                self.position = start + end
                self.expected = expected
                # What Record(...) does, without its cost.
                yield new(Record, (offset, kinds[kind], time_ns, payload))
                if expected >= until:
                    return
            if len(data) < wanted:
                return
            wanted = max(_CHUNK, needed)

    def skip_to(self, offset: int) -> int | None:
        """Go on to a record without reading the payloads before it, as far as headers are valid.

        Returns:
            The arrival time of the last record passed.
        """
        time_ns = None
        while self.header is not None and self.expected < offset:
            start, size = self.position, self.size()
            data = os.pread(self._file, _CHUNK, start)
            at = 0
            while self.expected < offset and at <= len(data) - RECORD_HEADER_SIZE:
                _, length, found, time, _ = RECORD_HEADER.unpack_from(data, at)
                end = at + RECORD_HEADER_SIZE + length
                if found != self.expected or length > MAX_PAYLOAD or start + end > size:
                    return time_ns
                at, time_ns = end, time
                self.position, self.expected = start + end, self.expected + 1
            if at == 0:
                return time_ns
        return time_ns

    def go_to(self, place: Place) -> None:
        """Go on from a place that :meth:`find_next` found."""
        self.position, self.expected = place

    def is_valid_at(self, place: Place) -> bool:
        """Say whether a whole, valid record with this offset begins here."""
        if self.header is None:
            return False
        data = os.pread(self._file, RECORD_HEADER_SIZE, place.position)
        if len(data) < RECORD_HEADER_SIZE:
            return False
        crc, length, offset, _, _ = RECORD_HEADER.unpack(data)
        if offset != place.offset or length > MAX_PAYLOAD:
            return False
        payload = os.pread(self._file, length, place.position + RECORD_HEADER_SIZE)
        found = google_crc32c.extend(google_crc32c.extend(self.header.seed, data[4:]), payload)
        return len(payload) == length and bool(found == crc)

    def find_next(self) -> Place | None:
        """Return the next valid record after :attr:`position`, looking at every byte."""
        if self.header is None:
            return None
        size = self.size()
        beyond = self.expected + (size - self.position) // RECORD_HEADER_SIZE + 1
        for start in range(self.position + 1, size, _CHUNK):
            data = os.pread(self._file, _CHUNK + RECORD_HEADER_SIZE - 1, start)
            for at in _possible_headers(data, self.expected, beyond):
                place = Place(start + at, int.from_bytes(data[at + 8 : at + 16], "little"))
                length = int.from_bytes(data[at + 4 : at + 8], "little")
                if place.position + RECORD_HEADER_SIZE + length <= size and self.is_valid_at(place):
                    return place
        return None


def _possible_headers(data: bytes, first: int, beyond: int) -> list[int]:
    """Return where a header of a record from ``first`` to before ``beyond`` may begin."""
    found: list[int] = []
    for shift in range(8):
        # The offset is at 8, the kind at 24. Each view has every eighth place.
        count = (len(data) - shift - RECORD_HEADER_SIZE) // 8 + 1
        if count <= 0:
            continue
        offsets = np.frombuffer(data, "<u8", count, 8 + shift)
        kinds = np.frombuffer(data, "<u4", 2 * count - 1, 24 + shift)[::2]
        fits = (offsets >= first) & (offsets < beyond) & (kinds >= 1) & (kinds <= _MAX_KIND)
        found += (np.flatnonzero(fits) * 8 + shift).tolist()
    return sorted(found)
