"""The socket between the front and one worker."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from aggregator.shards.frames import FrameDecoder

# What may lie in the process before the sender has to wait; the system takes 200 KB more.
_HIGH_WATER_BYTES = 4 * 1024 * 1024


class Lane(asyncio.Protocol):
    """One end: both sides may send at any time.

    Set :attr:`received` and :attr:`ended` before anything can come.
    """

    def __init__(self) -> None:
        # Called with each head and the columns behind it.
        self.received: Callable[[bytes, bytes], None]
        # Called once, when nothing can be sent or received any more.
        self.ended: Callable[[], None]
        self._transport: asyncio.Transport | None = None
        self._decoder = FrameDecoder()
        self._lost = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    async def open(self, sock: socket.socket) -> None:
        """Use a connected socket, which becomes ours."""
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self, sock=sock)

    def send(self, frame: bytes) -> None:
        """Send a frame; awaits nothing."""
        if self._transport is not None:
            self._transport.write(frame)

    async def drain(self) -> None:
        """Wait until little enough is on its way, or the lane has ended."""
        await self._writable.wait()

    def close(self) -> None:
        """Send what waits, then end."""
        if self._transport is not None:
            self._transport.close()

    async def wait_closed(self) -> None:
        """Wait until everything is sent, or can be sent no more."""
        await self._lost.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        # The loop's word for it is wider than what it makes.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)

    def data_received(self, data: bytes) -> None:
        """Hand on the frames that are complete."""
        for head, columns in self._decoder.feed(data):
            self.received(head, columns)

    def pause_writing(self) -> None:
        """Let senders wait."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let senders go on."""
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell that it is over."""
        self._transport = None
        self._writable.set()
        self._lost.set()
        self.ended()
