"""Frame messages on a TCP connection: a 32-bit big-endian length, then that many bytes."""

from __future__ import annotations

from struct import Struct

from marketdata.errors import EmptyFrame, FrameTooLarge, WireError

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
    _check_size(size, max_frame_size)
    return _LENGTH.pack(size) + payload


class FrameDecoder:
    """Cut the bytes of one connection into payloads.

    After a violation :attr:`failure` says why, and later data is ignored.
    """

    def __init__(self, max_frame_size: int = MAX_FRAME_SIZE) -> None:
        self._max_frame_size = max_frame_size
        self._buffer = bytearray()
        # Bytes the buffer must hold before another look at it can find a frame.
        self._needed = LENGTH_SIZE
        self.failure: WireError | None = None

    @property
    def has_partial_frame(self) -> bool:
        """Whether a frame was begun and not finished."""
        return bool(self._buffer)

    def receive_data(self, data: bytes) -> list[bytes]:
        """Return the payloads completed by ``data``, up to the first violation."""
        if self.failure is not None:
            return []
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return []
            data = bytes(self._buffer)
            self._buffer.clear()
        payloads, position = self._cut(data)
        if position < len(data):
            self._buffer += memoryview(data)[position:]
        return payloads

    def _cut(self, data: bytes) -> tuple[list[bytes], int]:
        # Returns the payloads and where the first unfinished frame starts; nothing is left
        # unfinished by a violation.
        payloads: list[bytes] = []
        unpack_length, limit, end = _LENGTH.unpack_from, self._max_frame_size, len(data)
        position = 0
        while (start := position + LENGTH_SIZE) <= end:
            (size,) = unpack_length(data, position)
            if not 0 < size <= limit:
                try:
                    _check_size(size, limit)
                except WireError as exc:
                    self.failure = exc
                return payloads, end
            stop = start + size
            if stop > end:
                self._needed = LENGTH_SIZE + size
                return payloads, position
            payloads.append(data[start:stop])
            position = stop
        self._needed = LENGTH_SIZE
        return payloads, position


def _check_size(size: int, limit: int) -> None:
    if size == 0:
        raise EmptyFrame
    if size > limit:
        raise FrameTooLarge(size, limit)
