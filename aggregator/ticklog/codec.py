"""The bytes of the log's files; docs/ticklog.md describes them for other programs.

All numbers are little-endian. A segment is a header and then records without a gap. The CRC32C of
a record begins with the seed of its segment, so bytes of another file, or bytes that a producer
sends, are never taken for a record.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

import google_crc32c

from aggregator.ticklog.log import Buffer, Kind

FORMAT_VERSION = 1

SEGMENT_MAGIC = b"MDSLOG\r\n"
CHECKPOINT_MAGIC = b"MDSCKP\r\n"

# Magic, format version, seed, first offset, time of creation in ns, release, reserved, CRC32C of
# the bytes before it. Magic, version, release and CRC keep their places in every version.
_FILE_HEADER = Struct("<8sIIQq16s12sI")
# Magic, format version, version of the state, offset, length of the content, release, CRC32C of the
# content, reserved, CRC32C of the bytes before it.
_CHECKPOINT_HEADER = Struct("<8sIIQQ16sI8sI")
# Both have this size.
HEADER_SIZE = 64

# CRC32C of everything after it, length of the payload, offset, arrival time in ns, kind.
RECORD_HEADER = Struct("<IIQqI")
RECORD_HEADER_SIZE = 28
_RECORD_REST = Struct("<IQqI")

# A batch of ingest has at most some MB.
MAX_PAYLOAD = 256 * 1024 * 1024

KINDS = {kind.value: kind for kind in Kind}


class SegmentHeader(NamedTuple):
    """The first bytes of a segment."""

    seed: int
    first_offset: int
    created_ns: int
    release: str
    version: int = FORMAT_VERSION


class CheckpointHeader(NamedTuple):
    """The first bytes of a checkpoint file."""

    state_version: int
    offset: int
    length: int
    crc: int
    release: str
    version: int = FORMAT_VERSION


def crc32c(data: Buffer, start: int = 0) -> int:
    """Return the CRC32C of the bytes that gave ``start`` and then ``data``."""
    # The library reads nothing but bytes.
    whole = data if isinstance(data, bytes) else bytes(data)
    return int(google_crc32c.extend(start, whole))


def encode_record_header(
    seed: int, kind: int, offset: int, time_ns: int, payload: Buffer
) -> tuple[bytes, Buffer]:
    """Return the bytes before a payload, and the payload as one run of bytes."""
    rest = _RECORD_REST.pack(len(payload), offset, time_ns, kind)
    crc = crc32c(payload, google_crc32c.extend(seed, rest))
    return crc.to_bytes(4, "little") + rest, payload


def encode_segment_header(header: SegmentHeader) -> bytes:
    """Return the first bytes of a segment."""
    release = header.release.encode()[:16]
    return _with_crc(
        _FILE_HEADER.pack(
            SEGMENT_MAGIC,
            header.version,
            header.seed,
            header.first_offset,
            header.created_ns,
            release,
            b"",
            0,
        )
    )


def decode_segment_header(data: bytes) -> SegmentHeader | None:
    """Return the header of a segment; None: these bytes are not a whole header.

    A header of another format version has no other value that can be relied on than its release.
    """
    if not _is_header(data, SEGMENT_MAGIC):
        return None
    _, version, seed, offset, created_ns, release, _, _ = _FILE_HEADER.unpack_from(data)
    return SegmentHeader(seed, offset, created_ns, _text(release), version)


def encode_checkpoint_header(header: CheckpointHeader) -> bytes:
    """Return the first bytes of a checkpoint file."""
    return _with_crc(
        _CHECKPOINT_HEADER.pack(
            CHECKPOINT_MAGIC,
            header.version,
            header.state_version,
            header.offset,
            header.length,
            header.release.encode()[:16],
            header.crc,
            b"",
            0,
        )
    )


def decode_checkpoint_header(data: bytes) -> CheckpointHeader | None:
    """Return the header of a checkpoint file; None: these bytes are not a whole header."""
    if not _is_header(data, CHECKPOINT_MAGIC):
        return None
    _, version, state, offset, length, release, crc, _, _ = _CHECKPOINT_HEADER.unpack_from(data)
    return CheckpointHeader(state, offset, length, crc, _text(release), version)


def _with_crc(header: bytes) -> bytes:
    return header[:-4] + crc32c(header[:-4]).to_bytes(4, "little")


def _is_header(data: bytes, magic: bytes) -> bool:
    return (
        len(data) >= HEADER_SIZE
        and data.startswith(magic)
        and crc32c(data[: HEADER_SIZE - 4])
        == int.from_bytes(data[HEADER_SIZE - 4 : HEADER_SIZE], "little")
    )


def _text(release: bytes) -> str:
    return release.rstrip(b"\0").decode("ascii", "replace")
