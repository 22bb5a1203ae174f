"""A segment is read up to its first damaged place, and the next record after it is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.ticklog.codec import (
    RECORD_HEADER_SIZE,
    SegmentHeader,
    encode_record_header,
    encode_segment_header,
)
from aggregator.ticklog.log import Kind
from aggregator.ticklog.segment import Place, SegmentReader, segment_path

SEED = 0xABCDEF01
MIB = 1024 * 1024


def write_segment(directory: Path, payloads: list[bytes], first: int = 0) -> tuple[Path, list[int]]:
    """Write a segment; return it and where its records begin."""
    data = bytearray(encode_segment_header(SegmentHeader(SEED, first, 0, "test")))
    begins = []
    for offset, payload in enumerate(payloads, first):
        begins.append(len(data))
        header, _ = encode_record_header(SEED, Kind.BATCH, offset, 0, payload)
        data += header + payload
    path = segment_path(directory, first)
    path.write_bytes(data)
    return path, begins


# The next record begins around the end of what is read at once.
@pytest.mark.parametrize("around", [*range(-RECORD_HEADER_SIZE - 40, -24), -1, 0, 1, 7, 8, MIB])
def test_the_next_record_is_found_wherever_it_begins(tmp_path: Path, around: int) -> None:
    path, begins = write_segment(tmp_path, [bytes(MIB + around), b"", b"last"])
    data = bytearray(path.read_bytes())
    data[begins[0]] ^= 1
    path.write_bytes(data)
    with SegmentReader(path) as reader:
        assert list(reader.records()) == []
        assert reader.find_next() == Place(begins[1], 1)
        reader.go_to(Place(begins[1], 1))
        assert [record.payload for record in reader.records()] == [b"", b"last"]
        assert reader.find_next() is None
        assert reader.position == reader.size()


@pytest.mark.parametrize("size", [0, 1, 7, 300, MIB - 28, MIB - 27, MIB, 3 * MIB])
def test_records_of_any_size_are_read(tmp_path: Path, size: int) -> None:
    given = [b"x" * size, b"s", b"y" * size, b"", b"z" * (size // 2)]
    path, begins = write_segment(tmp_path, given, first=2**40)
    with SegmentReader(path) as reader:
        assert [record.payload for record in reader.records()] == given
    for count in range(6):
        with SegmentReader(path) as reader:
            reader.skip_to(2**40 + count)
            assert reader.position == [*begins, path.stat().st_size][count]
            assert [record.payload for record in reader.records()] == given[count:]
    with SegmentReader(path) as reader:
        assert [record.payload for record in reader.records(until=2**40 + 2)] == given[:2]


def test_zeros_are_searched_quickly(tmp_path: Path) -> None:
    path, begins = write_segment(tmp_path, [b"first"])
    with path.open("r+b") as file:
        file.seek(begins[0])
        file.write(bytes(20 * MIB))
    with SegmentReader(path) as reader:
        assert list(reader.records()) == []
        assert reader.find_next() is None


def test_a_renamed_segment_is_not_read(tmp_path: Path) -> None:
    path, _ = write_segment(tmp_path, [b"first"])
    with SegmentReader(path.rename(segment_path(tmp_path, 7))) as reader:
        assert reader.header is None
        assert list(reader.records()) == []
        assert reader.find_next() is None
