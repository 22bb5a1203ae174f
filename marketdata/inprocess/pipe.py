"""One direction of a call."""

from __future__ import annotations

import asyncio

import grpc


class Pipe:
    """Pass messages from one writer to one reader; at most one message waits.

    A writer that is ahead waits until the reader has taken the message before. A message that a
    cancelled reader did not take stays.
    """

    __slots__ = ("_is_ended", "_loop", "_message", "_reader", "_writer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._message: bytes | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._is_ended = False

    @property
    def is_empty(self) -> bool:
        """Whether no message waits."""
        return self._message is None

    async def put(self, message: bytes) -> bool:
        """Pass a message on; return False if nobody will read it.

        Raises:
            grpc.aio.UsageError: another message is being written.
        """
        while self._message is not None:
            if self._writer is not None:
                raise grpc.aio.UsageError("another write of this call has not ended")
            self._writer = self._loop.create_future()
            try:
                await self._writer
            finally:
                self._writer = None
        if self._is_ended:
            return False
        self.put_nowait(message)
        return True

    def put_nowait(self, message: bytes) -> None:
        """Pass a message on; none may wait."""
        self._message = message
        _wake(self._reader)

    async def get(self) -> bytes | None:
        """Return the next message; None: no more come.

        Raises:
            grpc.aio.UsageError: another message is being read.
        """
        while self._message is None:
            if self._is_ended:
                return None
            if self._reader is not None:
                raise grpc.aio.UsageError("another read of this call has not ended")
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        message, self._message = self._message, None
        _wake(self._writer)
        return message

    def end(self) -> None:
        """Pass no more messages; the one that waits can still be read."""
        self._is_ended = True
        _wake(self._reader)

    def break_off(self) -> None:
        """Pass no more messages, and forget the one that waits."""
        self._message = None
        _wake(self._writer)
        self.end()


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
