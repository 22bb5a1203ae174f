"""Count the live connections of all endpoints together."""

from __future__ import annotations

import asyncio


class Capacity:
    """How many live clients there may be.

    An endpoint calls :meth:`try_enter` before it accepts a client and :meth:`leave` when that
    client is gone; a client that finds no place gets a 503.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.count = 0
        self._closed = False
        self._empty = asyncio.Event()
        self._empty.set()

    def try_enter(self) -> bool:
        """Count one more client, unless there are as many as there may be."""
        if self._closed or self.count >= self.limit:
            return False
        self.count += 1
        self._empty.clear()
        return True

    def leave(self) -> None:
        """Count one client less."""
        self.count -= 1
        if not self.count:
            self._empty.set()

    def close(self) -> None:
        """Let no client enter any more: the server stops."""
        self._closed = True

    async def wait_empty(self) -> None:
        """Return when no client is left."""
        await self._empty.wait()
