"""This process as one of several that are one gateway: what it shares with the others."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

from gateway.clients.capacity import Capacity
from gateway.rest.paths import decode_path
from gateway.settings import GatewaySettings
from gateway.status import Status
from gateway.stomp.messages import Message
from gateway.workers.board import Board
from gateway.workers.control import Adopt, Control, Handlers, ask_status
from gateway.workers.links import Links
from gateway.workers.moves import Mover, MovingHttp11
from gateway.workers.owners import Owners
from gateway.workers.shared import SharedCapacity, SharedRateLimits
from gateway.workers.signals import Missed, SignalDecoder
from marketdata.workers import Worker

_READ_SIZE = 64 * 1024


class Signaling(Protocol):
    """Who subscribed to signaling messages here."""

    def deliver(self, message: Message) -> None:
        """Send them a message."""

    def lose_signals(self, count: int) -> None:
        """Tell them that they miss so many."""


class Team:
    """The other workers, as this one sees them.

    Args:
        worker: this one.
        settings: the same for all.
        prefix: where SockJS is.
        tasks: runs what goes on beside requests.
    """

    def __init__(
        self, worker: Worker, settings: GatewaySettings, prefix: str, tasks: asyncio.TaskGroup
    ) -> None:
        self.number = worker.number
        self._worker = worker
        self._tasks = tasks
        control, board = worker.extra
        self._listener = socket.socket(fileno=control)
        self._board = Board(board)
        token, count = self._board.token, self._board.workers
        self._others = [each for each in range(count) if each != self.number]
        self.capacity: Capacity = SharedCapacity(settings.max_connections, self._board, self.number)
        self.limits = SharedRateLimits(
            settings.rate_limit,
            scope=settings.rate_limit_scope,
            board=self._board,
            # One clock for all processes of the machine.
            clock=time.monotonic,
        )
        owners = Owners(prefix, self.number, count, decode_path)
        self._mover = Mover(token, owners, tasks)
        # As uvicorn makes its own.
        self.protocol = partial(MovingHttp11, mover=self._mover)
        self._links = Links(token, self._others)
        # Links from others, as long as these have clients.
        self._busy: set[object] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    def relay(self, message: Message) -> None:
        """Give a signaling message to all others."""
        self._links.relay(message)

    async def ask_status(self, timeout_s: float) -> Mapping[int, dict[str, Any] | None]:
        """Return what each of the others says of itself; None: it does not answer."""
        token = self._board.token
        answers = await asyncio.gather(
            *(ask_status(token, other, timeout_s) for other in self._others)
        )
        return dict(zip(self._others, answers, strict=True))

    def attach(self, signaling: Signaling, status: Status) -> None:
        """Take what others send for ``signaling``, and tell them ``status``."""
        self._signaling = signaling
        self._status = status

    async def join(self, adopt: Adopt, stop: asyncio.Event) -> None:
        """Return when all are there to serve; a process that replaces another does not wait.

        Args:
            adopt: goes on with a connection that another process accepted, and read the first
            bytes from.
            stop: ends the waiting.
        """
        handlers = Handlers(adopt, self._receive, self._status.describe)
        self._control = Control(self._listener, self._tasks, handlers)
        self._control.start()
        self._linking = self._tasks.create_task(self._links.run())
        await self._links.wait_connected()
        self._worker.tell_ready()
        await self._worker.wait_for_all(stop)

    async def say_farewell(self) -> None:
        """Return when no other has clients left, as this one has not."""
        self._links.say_farewell()
        await self._idle.wait()

    def leave(self) -> None:
        """End what goes on."""
        self._control.stop()
        self._mover.stop()
        self._linking.cancel()

    def close(self) -> None:
        """Let go of what was inherited."""
        self._listener.close()
        self._board.close()

    async def _receive(self, data: bytes, sock: socket.socket) -> None:
        signaling = self._signaling
        loop = asyncio.get_running_loop()
        decoder = SignalDecoder()
        link = object()
        self._busy.add(link)
        self._idle.clear()
        try:
            while True:
                for event in decoder.feed(data):
                    if isinstance(event, Message):
                        signaling.deliver(event)
                    elif isinstance(event, Missed):
                        signaling.lose_signals(event.count)
                    else:
                        self._leave_behind(link)
                data = await loop.sock_recv(sock, _READ_SIZE)
                if not data:
                    return
        finally:
            self._leave_behind(link)

    def _leave_behind(self, link: object) -> None:
        self._busy.discard(link)
        if not self._busy:
            self._idle.set()
