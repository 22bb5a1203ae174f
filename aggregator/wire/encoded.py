"""Encoded records: one state or bar each, as tag, length and message of an ``UpdateBatch``.

Joined they are the serialized batch, so what was encoded once goes to any number of streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_MIN_RECORDS = 256


class Out(NamedTuple):
    """Where the encoders write: bytes, where each record ends, and a record that they work on."""

    data: NDArray[np.uint8]
    ends: NDArray[np.int64]
    scratch: NDArray[Any]


class EncodedRoom:
    """Where the encoders write, used again by the next call.

    Args:
        max_bytes: what a record can have, with what is written after it.
        scratch: the type of the record that the encoders work on.
    """

    def __init__(self, max_bytes: int, scratch: np.dtype[np.void]) -> None:
        self._max_bytes = max_bytes
        self._scratch: NDArray[Any] = np.zeros(1, scratch)
        self._make(_MIN_RECORDS)

    def reserve(self, count: int) -> Out:
        """Return room for so many records."""
        if count > len(self.out.ends):
            self._make(2 * count)
        return self.out

    def cut(self, count: int) -> list[bytes]:
        """Return the first records that were written; some may be empty."""
        if count <= 1:
            return [self.out.data[: self.out.ends[0]].tobytes()] if count else []
        stops = self.out.ends[:count].tolist()
        data = self.out.data[: stops[-1]].tobytes()
        return [data[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]

    def _make(self, count: int) -> None:
        data = np.zeros(count * self._max_bytes, np.uint8)
        self.out = Out(data, np.zeros(count, np.int64), self._scratch)


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


def message_of(record: bytes) -> bytes:
    """Return the message of an encoded record, without its tag and length."""
    # No message has more than 255 bytes, so the length has one byte or two.
    return record[2:] if record[1] < 0x80 else record[3:]
