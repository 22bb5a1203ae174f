"""Send signaling messages to every other worker, and wait for none of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial

import structlog

from gateway.stomp.messages import Message
from gateway.workers.control import SIGNALS, connect_control
from gateway.workers.signals import FAREWELL, encode_frame, encode_signal

log = structlog.get_logger(__name__)

# What may wait for a worker that does not read: 250 offers of the largest size. One that stands
# still for so long has its clients told, when it is back.
MAX_WAITING_BYTES = 16 * 1024 * 1024
# After a connection that was refused, which takes a worker with a thousand others waiting.
RETRY_S = 0.5


class Link(asyncio.Protocol):
    """The way to one other worker, as long as that lives."""

    def __init__(self, worker: int) -> None:
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self.lost = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._number = 0
        self._full = False
        self._left_out = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  for the type checker
        self._transport = transport
        transport.write(SIGNALS)
        transport.set_write_buffer_limits(MAX_WAITING_BYTES, MAX_WAITING_BYTES // 2)

    def connection_lost(self, exc: Exception | None) -> None:
        """End: the worker is gone."""
        self._transport = None
        if not self.lost.done():
            self.lost.set_result(None)

    def pause_writing(self) -> None:
        """Leave messages out from now on."""
        self._full = True

    def resume_writing(self) -> None:
        """Go on; say that messages were left out, if there were."""
        self._full = False
        if self._left_out:
            log.error("signals to a worker were left out", to=self._worker, count=self._left_out)
            self._left_out = 0
            self._write(encode_frame(self._number))

    def send(self, signal: bytes) -> None:
        """Send a message, or count it as left out."""
        self._number += 1
        if self._full:
            self._left_out += 1
        else:
            self._write(encode_frame(self._number, signal))

    def say_farewell(self) -> None:
        """Say that this worker has no clients left."""
        self._write(FAREWELL)

    def close(self) -> None:
        """End."""
        if self._transport is not None:
            self._transport.abort()

    def _write(self, data: bytes) -> None:
        # Without a transport the worker is dead; the one that takes its place has no clients yet.
        if self._transport is not None:
            self._transport.write(data)


class Links:
    """The ways to all other workers.

    Args:
        token: of their sockets' names.
        others: their numbers.
    """

    def __init__(self, token: bytes, others: Iterable[int]) -> None:
        self._token = token
        self._others = tuple(others)
        self._links: dict[int, Link] = {}
        self._connected = asyncio.Event()

    async def run(self) -> None:
        """Keep the links until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for other in self._others:
                    tasks.create_task(self._keep(other))
        finally:
            for link in self._links.values():
                link.close()

    async def wait_connected(self) -> None:
        """Return when there is a link to everyone."""
        await self._connected.wait()

    def relay(self, message: Message) -> None:
        """Send ``message`` to all others."""
        signal = encode_signal(message)
        for link in self._links.values():
            link.send(signal)

    def say_farewell(self) -> None:
        """Tell all others that this worker has no clients left."""
        for link in self._links.values():
            link.say_farewell()

    async def _keep(self, other: int) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock = connect_control(self._token, other)
            except OSError as exc:
                log.warning("another worker cannot be reached", worker=other, problem=repr(exc))
                await asyncio.sleep(RETRY_S)
                continue
            _, link = await loop.create_unix_connection(partial(Link, other), sock=sock)
            self._links[other] = link
            if len(self._links) == len(self._others):
                self._connected.set()
            await link.lost
