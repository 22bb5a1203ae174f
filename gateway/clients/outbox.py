"""The messages one client still has to get, bounded in bytes."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from marketdata.errors import MarketDataError

M = TypeVar("M", str, bytes)

# Below this a sender goes on, above it is asked to wait. The server's own write buffer under it
# is as large again, so a reader that keeps up never gets here.
DEFAULT_HIGH_WATER_BYTES = 64 * 1024
# A slow reader costs at most this, times the connections allowed.
DEFAULT_MAX_BUFFERED_BYTES = 1024 * 1024


class BufferFull(MarketDataError):
    """A client reads too slowly: its buffer cannot take another message."""

    def __init__(self, size: int, buffered: int, limit: int) -> None:
        super().__init__(
            f"a message of {size} bytes does not fit: {buffered} of {limit} bytes are buffered"
        )
        self.size = size
        self.buffered = buffered
        self.limit = limit


class Outbox(Generic[M]):
    """Queue messages and know how many bytes the client still has to get.

    What :meth:`take` returned still counts until the next :meth:`take` or :meth:`written`,
    because it is still in memory and the client still does not have it.
    """

    def __init__(
        self,
        high_water_bytes: int = DEFAULT_HIGH_WATER_BYTES,
        max_buffered_bytes: int = DEFAULT_MAX_BUFFERED_BYTES,
    ) -> None:
        self._high_water = high_water_bytes
        # Low enough that the sender has a worthwhile amount to send when it goes on.
        self._low_water = high_water_bytes // 4
        self._limit = max_buffered_bytes
        self._queue: deque[tuple[M, int]] = deque()
        self._queued_bytes = 0
        self._taken_bytes = 0
        self.writable = True

    def __bool__(self) -> bool:
        return bool(self._queue)

    @property
    def buffered_bytes(self) -> int:
        """Bytes that were put in and not yet written."""
        return self._queued_bytes + self._taken_bytes

    def put(self, message: M) -> None:
        """Queue ``message``.

        Raises:
            BufferFull: It would pass the bound; it was not queued.
        """
        size = _size(message)
        buffered = self.buffered_bytes + size
        if buffered > self._limit:
            raise BufferFull(size, self.buffered_bytes, self._limit)
        self._queue.append((message, size))
        self._queued_bytes += size
        if buffered >= self._high_water:
            self.writable = False

    def take(self, max_bytes: int) -> list[M]:
        """Return the oldest messages, up to ``max_bytes`` but at least one if there is any."""
        self.written()
        taken: list[M] = []
        while self._queue:
            message, size = self._queue[0]
            if taken and self._taken_bytes + size > max_bytes:
                break
            self._queue.popleft()
            self._queued_bytes -= size
            self._taken_bytes += size
            taken.append(message)
        return taken

    def written(self) -> None:
        """Forget what was taken: it is on its way."""
        self._taken_bytes = 0
        if self._queued_bytes <= self._low_water:
            self.writable = True

    def clear(self) -> None:
        """Drop everything."""
        self._queue.clear()
        self._queued_bytes = 0
        self.written()


def _size(message: str | bytes) -> int:
    if isinstance(message, str) and not message.isascii():
        return len(message.encode())
    return len(message)
