"""Cut a stream of bytes into frames as plainly as it can be done."""

from __future__ import annotations

from marketdata.errors import EmptyFrame, FrameTooLarge, WireError
from marketdata.framing import LENGTH_SIZE, MAX_FRAME_SIZE


class FrameDecoder:
    """Cut the bytes of one connection into payloads.

    After a violation :attr:`failure` says why, and later data is ignored.
    """

    def __init__(self, max_frame_size: int = MAX_FRAME_SIZE) -> None:
        self._max_frame_size = max_frame_size
        self._buffer = bytearray()
        self.failure: WireError | None = None

    @property
    def has_partial_frame(self) -> bool:
        """Whether a frame was begun and not finished."""
        return bool(self._buffer)

    def receive_data(self, data: bytes) -> list[bytes]:
        """Return the payloads completed by ``data``, up to the first violation."""
        payloads: list[bytes] = []
        self._buffer += data
        start = LENGTH_SIZE
        while self.failure is None and len(self._buffer) >= start:
            size = int.from_bytes(self._buffer[start - LENGTH_SIZE : start], "big")
            if not 0 < size <= self._max_frame_size:
                self.failure = FrameTooLarge(size, self._max_frame_size) if size else EmptyFrame()
            elif len(self._buffer) < start + size:
                break
            else:
                payloads.append(bytes(self._buffer[start : start + size]))
                start += size + LENGTH_SIZE
        # Nothing after a violation counts, not even as a partial frame.
        del self._buffer[: len(self._buffer) if self.failure else start - LENGTH_SIZE]
        return payloads
