"""Read records over several segments, and find the end of the last one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from aggregator.ticklog.codec import HEADER_SIZE
from aggregator.ticklog.errors import CorruptRecord, OffsetGone
from aggregator.ticklog.log import Record
from aggregator.ticklog.segment import NO_END, Place, SegmentReader, Skipped, offset_of

# Hears of each damaged part. None: a damaged part raises CorruptRecord.
OnSkip = Callable[[Skipped], None]


class End(NamedTuple):
    """The end of the last segment."""

    # After the last valid record.
    position: int
    next_offset: int
    # Bytes after it that are no record: a write that a crash interrupted.
    torn: int
    # The seed of the segment; None: its header was not written.
    seed: int | None
    damaged: bool


def read_segments(
    paths: Sequence[Path], offset: int, until: int = NO_END, on_skip: OnSkip | None = None
) -> Iterator[Record]:
    """Give the records from ``offset`` to before ``until``.

    Args:
        paths: the segments in order, from the one that has ``offset``.
        offset: the first record.
        until: the first record that is left out.
        on_skip: hears of damaged parts, which are then left out.

    Raises:
        CorruptRecord: a record is damaged or missing, and ``on_skip`` is None.
        OffsetGone: a segment was removed meanwhile.
    """
    # What lies before ``until`` must be there.
    last = None if until == NO_END else until
    for index, path in enumerate(paths):
        end = offset_of(paths[index + 1]) if index + 1 < len(paths) else last
        if offset_of(path) >= until:
            return
        try:
            reader = SegmentReader(path)
        except FileNotFoundError as exc:
            raise OffsetGone(offset_of(path), end or offset_of(path) + 1) from exc
        with reader:
            yield from _read_segment(reader, offset, until, end, on_skip)


def _read_segment(
    reader: SegmentReader, offset: int, until: int, following: int | None, on_skip: OnSkip | None
) -> Iterator[Record]:
    while True:
        reader.skip_to(offset)
        for record in reader.records(until):
            if record.offset >= offset:
                yield record
        if reader.expected >= until:
            return
        broken = Place(reader.position, reader.expected)
        found = reader.find_next()
        if found is None:
            if following is None and _may_be_torn(reader):
                return
            if following == broken.offset:
                return
            found = Place(reader.size(), broken.offset if following is None else following)
            is_end = True
        else:
            is_end = False
        # Its writer may have finished it meanwhile.
        if reader.is_valid_at(broken):
            continue
        _skip(reader, found, wanted=found.offset > offset or is_end, on_skip=on_skip)
        if is_end:
            return
        reader.go_to(found)


def _may_be_torn(reader: SegmentReader) -> bool:
    # A header is written and synced before the first record.
    return reader.header is not None or reader.size() <= HEADER_SIZE


def _skip(reader: SegmentReader, found: Place, *, wanted: bool, on_skip: OnSkip | None) -> None:
    if not wanted:
        return
    if on_skip is None:
        raise CorruptRecord(reader.path, reader.position, reader.expected, _describe(reader, found))
    on_skip(
        Skipped(
            reader.path,
            reader.position,
            found.position - reader.position,
            reader.expected,
            found.offset - reader.expected,
        )
    )


def _describe(reader: SegmentReader, found: Place) -> str:
    if reader.header is None:
        return "the header of the file is damaged"
    if found.position == reader.position:
        return f"records {reader.expected} to {found.offset - 1} are missing"
    return f"{found.position - reader.position} bytes are no record"


def find_end(path: Path, on_skip: OnSkip | None = None) -> End:
    """Read the last segment of a log and return where it ends.

    Raises:
        CorruptRecord: a record in the middle is damaged, and ``on_skip`` is None.
        UnknownFormat: another release wrote it.
        OSError: it cannot be read.
    """
    damaged = False
    with SegmentReader(path) as reader:
        size = reader.size()
        if reader.header is None:
            if size > HEADER_SIZE:
                _skip(reader, Place(size, reader.expected), wanted=True, on_skip=on_skip)
                damaged = True
            return End(0, reader.expected, 0 if damaged else size, None, damaged)
        while True:
            # Reads all and keeps nothing.
            deque(reader.records(), maxlen=0)
            size = reader.size()
            found = None if reader.position == size else reader.find_next()
            # The writer of a log that is only read may have gone on meanwhile.
            if reader.is_valid_at(Place(reader.position, reader.expected)):
                continue
            if found is None:
                break
            _skip(reader, found, wanted=True, on_skip=on_skip)
            damaged = True
            reader.go_to(found)
        torn = size - reader.position
        return End(reader.position, reader.expected, torn, reader.header.seed, damaged)
