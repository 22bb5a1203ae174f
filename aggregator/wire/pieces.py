"""Pieces of a serialized ``UpdateBatch``: one state or bar each, tag, length and message.

Joined they are the message, so what was encoded once goes to any number of streams.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_MIN_PIECES = 256


class PieceRoom:
    """Where the encoders write, used again by the next call.

    Args:
        max_bytes: what a piece can have, with what is written behind it.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._make(_MIN_PIECES)

    def reserve(self, count: int) -> None:
        """Have room for so many pieces."""
        if count > len(self.ends):
            self._make(2 * count)

    def cut(self, count: int) -> list[bytes]:
        """Return the first pieces that were written; some may be empty."""
        if not count:
            return []
        stops = self.ends[:count].tolist()
        data = self.out[: stops[-1]].tobytes()
        return [data[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]

    def _make(self, count: int) -> None:
        self.out: NDArray[np.uint8] = np.zeros(count * self._max_bytes, np.uint8)
        self.ends: NDArray[np.int32] = np.zeros(count, np.int32)


def pack_names(names: Sequence[str], width: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return names as the encoders take them: so many bytes for each, and how many count.

    Raises:
        ValueError: one is longer.
    """
    packed = np.zeros((len(names), width), np.uint8)
    lengths = np.zeros(len(names), np.int64)
    for index, name in enumerate(names):
        data = name.encode()
        if len(data) > width:
            raise ValueError(f"{name!r} has {len(data)} bytes, limit is {width}")
        packed[index, : len(data)] = np.frombuffer(data, np.uint8)
        lengths[index] = len(data)
    return packed, lengths


def message_of(piece: bytes) -> bytes:
    """Return the message of a piece, without its tag and length."""
    # None has more than 255 bytes, so the length has one byte or two.
    return piece[2:] if piece[1] < 0x80 else piece[3:]
