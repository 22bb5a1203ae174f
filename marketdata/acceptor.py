"""Accept TCP connections as long as there are file descriptors for them."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import Callable

import structlog

log = structlog.get_logger()

# Descriptors that connections leave free, for files and sockets that the service opens itself.
RESERVED_FILES = 64
# How soon it is tried again when none was left.
RETRY_S = 0.5
# A shortage is over when none was met for so long.
OVER_AFTER_S = 5.0
# Connections taken in one turn of the event loop, so that those that are in are served meanwhile.
ACCEPTS_PER_TURN = 100


class Acceptor:
    """Make a connection of a protocol of each client of a listening socket.

    While descriptors run out, clients wait in the queue of the kernel. asyncio's own server would
    try again as often as its backlog is long, with a traceback each.

    Args:
        listener: listens already.
        make_protocol: returns the protocol of a new connection.
    """

    def __init__(
        self, listener: socket.socket, make_protocol: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._make_protocol = make_protocol
        self._loop = asyncio.get_running_loop()
        self._limit = open_files_limit() - RESERVED_FILES
        self._connecting: set[asyncio.Task[None]] = set()
        self._retry: asyncio.TimerHandle | None = None
        # When descriptors were missing last, while they are short.
        self._short_at: float | None = None
        self._is_closed = False

    def start(self) -> None:
        """Begin to accept."""
        self._loop.add_reader(self._listener, self._accept)

    async def finish(self) -> None:
        """Accept the clients that have connected, and close the listening socket."""
        if not self._is_closed:
            while self._accept():
                pass
        self.close()
        await self.wait_closed()

    def close(self) -> None:
        """Accept no more clients, and close the listening socket."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._retry is not None:
            self._retry.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()

    async def wait_closed(self) -> None:
        """Wait until every accepted client has its protocol."""
        while self._connecting:
            await asyncio.wait(self._connecting)

    def _accept(self) -> bool:
        # Returns whether more clients may wait.
        if self._short_at is not None and self._loop.time() - self._short_at > OVER_AFTER_S:
            self._short_at = None
            log.info("accepting_again")
        for _ in range(ACCEPTS_PER_TURN):
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return False
            except ConnectionAbortedError:
                continue
            except OSError as exc:
                self._pause(exc.strerror or str(exc))
                return False
            task = self._loop.create_task(self._connect(connection))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)
            # The system gives the lowest number that is free.
            if connection.fileno() >= self._limit:
                self._pause("the rest is reserved")
                return False
        return True

    async def _connect(self, connection: socket.socket) -> None:
        try:
            connection.setblocking(False)
            await self._loop.connect_accepted_socket(self._make_protocol, connection)
        except OSError as exc:
            # The client has gone again.
            connection.close()
            log.debug("client_gone", error=str(exc))

    def _pause(self, problem: str) -> None:
        if self._short_at is None:
            log.warning("accepting_paused", problem=problem, open_files=open_files_limit())
        self._short_at = self._loop.time()
        self._loop.remove_reader(self._listener)
        if self._retry is None:
            self._retry = self._loop.call_later(RETRY_S, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        if self._has_free_files():
            self._loop.add_reader(self._listener, self._accept)
        else:
            self._short_at = self._loop.time()
            self._retry = self._loop.call_later(RETRY_S, self._try_again)

    def _has_free_files(self) -> bool:
        try:
            lowest = os.dup(self._listener.fileno())
        except OSError:
            return False
        os.close(lowest)
        return lowest < self._limit


def allow_open_files(count: int) -> None:
    """Let this process have so many files and sockets open, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        log.warning("open_files_limited", open_files=hard, needed=count)
        count = hard
    if soft != resource.RLIM_INFINITY and soft < count:
        # Many systems begin with 1024.
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def open_files_limit() -> int:
    """Return how many files and sockets this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    # More than any system has.
    return 2**31 if soft == resource.RLIM_INFINITY else soft
