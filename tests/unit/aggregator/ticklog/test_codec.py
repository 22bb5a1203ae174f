"""The bytes of a log are those that docs/ticklog.md describes, and only those are accepted."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.ticklog.codec import (
    HEADER_SIZE,
    RECORD_HEADER,
    CheckpointHeader,
    SegmentHeader,
    crc32c,
    decode_checkpoint_header,
    decode_segment_header,
    encode_checkpoint_header,
    encode_record_header,
    encode_segment_header,
)
from aggregator.ticklog.log import Kind

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
I64 = st.integers(-(2**63), 2**63 - 1)
RELEASES = st.text("0123456789.abc", max_size=16)


def plain_crc32c(data: bytes, start: int = 0) -> int:
    """Compute it bit by bit, as RFC 3720 defines it."""
    crc = start ^ 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_the_checksum_is_crc32c() -> None:
    # RFC 3720, B.4.
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


@given(st.binary(), st.binary(), U32)
def test_the_checksum_of_parts_is_that_of_the_whole(one: bytes, two: bytes, start: int) -> None:
    whole = plain_crc32c(one + two, start)
    assert crc32c(two, crc32c(one, start)) == crc32c(bytearray(one + two), start) == whole


def test_a_record_is_these_bytes() -> None:
    header, payload = encode_record_header(0x01020304, Kind.CLOCK, 5, -2, b"abc")
    rest = bytes.fromhex("03000000 0500000000000000 feffffffffffffff 05000000")
    assert header[4:] == rest
    assert header[:4] == struct.pack("<I", plain_crc32c(rest + b"abc", 0x01020304))
    assert payload == b"abc"


@given(U32, st.sampled_from(Kind), U64, I64, st.binary(max_size=100))
def test_a_record_header_has_what_was_given(
    seed: int, kind: Kind, offset: int, time_ns: int, payload: bytes
) -> None:
    header, _ = encode_record_header(seed, kind, offset, time_ns, memoryview(payload))
    crc, *values = RECORD_HEADER.unpack(header)
    assert values == [len(payload), offset, time_ns, kind]
    assert crc == plain_crc32c(header[4:] + payload, seed)


def test_a_segment_header_is_these_bytes() -> None:
    header = encode_segment_header(SegmentHeader(0x01020304, 5, 6, "0.1.0"))
    assert header[:-4] == (
        b"MDSLOG\r\n"
        + bytes.fromhex("01000000 04030201 0500000000000000 0600000000000000")
        + b"0.1.0".ljust(16, b"\0")
        + bytes(12)
    )
    assert header[-4:] == struct.pack("<I", plain_crc32c(header[:-4]))


@given(st.builds(SegmentHeader, U32, U64, I64, RELEASES, U32), st.binary(max_size=9))
def test_a_segment_header_comes_back_as_it_was(header: SegmentHeader, more: bytes) -> None:
    assert decode_segment_header(encode_segment_header(header) + more) == header


@given(st.builds(CheckpointHeader, U32, U64, U64, U32, RELEASES, U32), st.binary(max_size=9))
def test_a_checkpoint_header_comes_back_as_it_was(header: CheckpointHeader, more: bytes) -> None:
    assert decode_checkpoint_header(encode_checkpoint_header(header) + more) == header


@pytest.mark.parametrize("position", range(HEADER_SIZE))
def test_a_header_with_a_changed_byte_is_none(position: int) -> None:
    for whole in (
        encode_segment_header(SegmentHeader(1, 2, 3, "0.1.0")),
        encode_checkpoint_header(CheckpointHeader(1, 2, 3, 4, "0.1.0")),
    ):
        data = bytearray(whole)
        data[position] ^= 1
        assert decode_segment_header(bytes(data)) is None
        assert decode_checkpoint_header(bytes(data)) is None


@given(st.binary(max_size=200))
def test_other_bytes_are_no_header(data: bytes) -> None:
    assert decode_segment_header(data) is None
    assert decode_checkpoint_header(data) is None
