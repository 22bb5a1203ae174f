"""What goes over a lane: a head, and columns of numbers behind it.

The numbers are not in the head, a message, because that would copy them twice more each way.
"""

from __future__ import annotations

from struct import Struct
from typing import Any

from numpy.typing import NDArray

# The bytes that follow, and those of the head.
PREFIX = Struct(">II")


def make_frame(head: bytes, *columns: NDArray[Any]) -> bytes:
    """Return a head and some columns as one frame."""
    size = len(head) + sum(column.nbytes for column in columns)
    return b"".join((PREFIX.pack(size, len(head)), head, *(column.data for column in columns)))


class FrameDecoder:
    """Take frames out of the bytes of a lane."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Return the heads and columns of the frames that ``data`` completes."""
        buffer, frames, at = self._buffer, list[tuple[bytes, bytes]](), 0
        buffer += data
        with memoryview(buffer) as view:
            while len(view) - at >= PREFIX.size:
                size, head_size = PREFIX.unpack_from(view, at)
                start = at + PREFIX.size
                if len(view) < start + size:
                    break
                middle, at = start + head_size, start + size
                frames.append((bytes(view[start:middle]), bytes(view[middle:at])))
        del buffer[:at]
        return frames
