"""Frame messages on a TCP connection: a 32-bit big-endian length, then that many bytes."""

from __future__ import annotations

from struct import Struct

from marketdata.errors import EmptyFrame, FrameTooLarge

_LENGTH = Struct(">I")
LENGTH_SIZE = _LENGTH.size

# The original's limit. A Tick is about 30 bytes; the rest is room for growth.
MAX_FRAME_SIZE = 1_000_000


def encode_frame(payload: bytes, max_frame_size: int = MAX_FRAME_SIZE) -> bytes:
    """Return ``payload`` as one frame.

    Raises:
        EmptyFrame: ``payload`` is empty.
        FrameTooLarge: ``payload`` is longer than ``max_frame_size``.
    """
    size = len(payload)
    if size == 0:
        raise EmptyFrame
    if size > max_frame_size:
        raise FrameTooLarge(size, max_frame_size)
    return _LENGTH.pack(size) + payload
