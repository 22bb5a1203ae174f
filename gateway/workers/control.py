"""How workers reach each other: a socket of each, in the abstract namespace of Unix sockets.

It has no file, so nothing is left when all are killed. The parent binds it and keeps it, so that
what comes while a worker is replaced waits for the next one. Any program of the machine could
connect, so who does is looked at: only processes of the same user are let in.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import orjson
import structlog

log = structlog.get_logger(__name__)

# Connections that wait for a worker: as many requests of SockJS clients at once.
BACKLOG = 1024
# The first byte says what a connection is for.
MOVE = b"M"
SIGNALS = b"S"
STATUS = b"?"
# How long another worker may take to say what it wants, or to hand a connection over: it has
# all that it needs.
HANDOVER_TIMEOUT_S = 5.0
ACCEPT_AGAIN_S = 1.0
_READ_SIZE = 64 * 1024
_CREDENTIALS = struct.Struct("3i")


def control_name(token: bytes, worker: int) -> str:
    """Return the name of the socket of ``worker``."""
    return f"\0marketdata-gateway-{token.hex()}-{worker}"


def bind_control(token: bytes, worker: int) -> socket.socket:
    """Return the listening socket of ``worker``."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.setblocking(False)
    listener.bind(control_name(token, worker))
    listener.listen(BACKLOG)
    return listener


def connect_control(token: bytes, worker: int) -> socket.socket:
    """Return a connection to ``worker``; it is there at once, also while the worker is replaced.

    Raises:
        OSError: too many wait for it.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        sock.connect(control_name(token, worker))
    except OSError:
        sock.close()
        raise
    return sock


# Takes a socket, and what was read from it.
Adopt = Callable[[socket.socket, bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Handlers:
    """What a worker does for others."""

    #: Goes on with a connection, whose first bytes were read.
    adopt: Adopt
    #: Takes signaling messages: what came, and then to the end of the socket.
    signals: Callable[[bytes, socket.socket], Awaitable[None]]
    #: Says how it is.
    status: Callable[[], object]


class Control:
    """The socket of this worker.

    Args:
        listener: as :func:`bind_control` made it.
        tasks: runs a task per connection.
        handlers: what is done for others.
    """

    def __init__(
        self, listener: socket.socket, tasks: asyncio.TaskGroup, handlers: Handlers
    ) -> None:
        self._listener = listener
        self._tasks = tasks
        self._handlers = handlers
        self._loop = asyncio.get_running_loop()
        self._serving: set[asyncio.Task[None]] = set()
        self._again: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Let others in."""
        self._loop.add_reader(self._listener, self._accept)

    def stop(self) -> None:
        """Let nobody in any more, and end who is there."""
        self._loop.remove_reader(self._listener)
        if self._again is not None:
            self._again.cancel()
        for task in self._serving:
            task.cancel()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as exc:
                # Too many open files. They wait, as clients do then.
                log.warning("other workers have to wait", problem=repr(exc))
                self._loop.remove_reader(self._listener)
                self._again = self._loop.call_later(ACCEPT_AGAIN_S, self.start)
                return
            sock.setblocking(False)
            if not _is_ours(sock):
                sock.close()
                continue
            task = self._tasks.create_task(self._serve(sock))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    async def _serve(self, sock: socket.socket) -> None:
        with sock:
            try:
                async with asyncio.timeout(HANDOVER_TIMEOUT_S):
                    await wait_readable(sock)
                data, descriptors, _, _ = socket.recv_fds(sock, _READ_SIZE, 1)
                await self._handle(sock, data[:1], data[1:], descriptors)
            except (OSError, TimeoutError) as exc:
                # The other one died, or is stuck.
                log.warning("another worker broke off", problem=repr(exc))
            except Exception:
                # The edge of the task: a bug ends this one connection.
                log.exception("what another worker asked for failed")

    async def _handle(
        self, sock: socket.socket, kind: bytes, data: bytes, descriptors: list[int]
    ) -> None:
        if kind == MOVE:
            (descriptor,) = descriptors
            # From here on it is closed whatever happens.
            client = socket.socket(fileno=descriptor)
            try:
                async with asyncio.timeout(HANDOVER_TIMEOUT_S):
                    while more := await self._loop.sock_recv(sock, _READ_SIZE):
                        data += more
                await self._handlers.adopt(client, data)
            except BaseException:
                client.close()
                raise
        elif kind == SIGNALS:
            await self._handlers.signals(data, sock)
        elif kind == STATUS:
            await self._loop.sock_sendall(sock, orjson.dumps(self._handlers.status()))


async def ask_status(token: bytes, worker: int, timeout_s: float) -> dict[str, object] | None:
    """Return what ``worker`` says of itself; None: nothing."""
    loop = asyncio.get_running_loop()
    answer = bytearray()
    try:
        with connect_control(token, worker) as sock:
            async with asyncio.timeout(timeout_s):
                await loop.sock_sendall(sock, STATUS)
                while data := await loop.sock_recv(sock, _READ_SIZE):
                    answer += data
        status: dict[str, object] = orjson.loads(answer)
    except (OSError, TimeoutError, orjson.JSONDecodeError):
        return None
    return status


async def wait_readable(sock: socket.socket) -> None:
    """Return when there is something to read."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()

    def notice() -> None:
        if not future.done():
            future.set_result(None)

    loop.add_reader(sock, notice)
    try:
        await future
    finally:
        loop.remove_reader(sock)


def _is_ours(sock: socket.socket) -> bool:
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(credentials)
    return bool(user == os.geteuid())
