"""Hand connections over to the worker whose session is asked for.

A connection goes over as it is: its socket, and what was read of the request. So the owner serves
it as its own, with everything that this means for who reads slowly or leaves; there is nobody in
between, and requests that follow on it are at home already.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from typing import Any

import h11
import structlog

from gateway.clients.http11 import Http11
from gateway.workers.control import MOVE, connect_control
from gateway.workers.owners import Owners

log = structlog.get_logger(__name__)

# More than this may have been read of a request, of which a worker that is replaced would keep
# its part waiting.
SEND_TIMEOUT_S = 10.0
_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\n"
    b"Retry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
)


class Mover:
    """The way of connections to other workers.

    Args:
        token: of their sockets' names.
        owners: whose a request is.
        tasks: runs a task for each that takes long.
    """

    def __init__(self, token: bytes, owners: Owners, tasks: asyncio.TaskGroup) -> None:
        self.owners = owners
        self._token = token
        self._tasks = tasks
        self._sending: set[asyncio.Task[None]] = set()
        # Connections that went to other workers, by whether they could.
        self.counts: Counter[str] = Counter()

    def move(self, owner: int, descriptor: int, data: bytes) -> None:
        """Give ``owner`` a connection, with what was read from it; the caller closes its own.

        Raises:
            OSError: too many wait for it.
        """
        sock = connect_control(self._token, owner)
        try:
            message = MOVE + data
            sent = socket.send_fds(sock, [message], [descriptor])
        except OSError:
            sock.close()
            raise
        self.counts["moved"] += 1
        if sent == len(message):
            sock.close()
            return
        task = self._tasks.create_task(self._send(sock, message[sent:]))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    def stop(self) -> None:
        """Give up what is still on its way."""
        for task in self._sending:
            task.cancel()

    async def _send(self, sock: socket.socket, rest: bytes) -> None:
        with sock:
            try:
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await asyncio.get_running_loop().sock_sendall(sock, rest)
            except (OSError, TimeoutError) as exc:
                log.warning("a connection was lost on its way to its worker", problem=repr(exc))


class _Requests(h11.Connection):
    # Stops in front of a request that is another worker's: h11's own word for "not now".
    def __init__(self, owners: Owners, *limits: int) -> None:
        super().__init__(h11.SERVER, *limits)
        self._owners = owners
        self.owner: int | None = None

    def next_event(self) -> Any:
        if self.owner is None and self.their_state is h11.IDLE:
            self.owner = self._owners.other_owner(self.trailing_data[0])
        if self.owner is not None:
            return h11.PAUSED
        return super().next_event()


class MovingHttp11(Http11):
    """HTTP/1.1 whose connections go to the worker that their requests belong to.

    Args:
        mover: takes them there.
        first: what another worker read of a connection that came from it.
    """

    conn: _Requests

    def __init__(self, *args: Any, mover: Mover, first: bytes = b"", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        limit = self.config.h11_max_incomplete_event_size
        self.conn = _Requests(mover.owners, *(() if limit is None else (limit,)))
        self._mover = mover
        self._first = first
        self._gone = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, with what was read already."""
        super().connection_made(transport)
        first, self._first = self._first, b""
        if first:
            self.data_received(first)

    def handle_events(self) -> None:
        """Do what was asked for, or let the owner."""
        super().handle_events()
        if self.conn.owner is not None and not self._gone:
            self._unset_keepalive_if_required()
            # The answers before this request go first.
            self.transport.set_write_buffer_limits(0)
            self._move_if_drained()

    def resume_writing(self) -> None:
        """Go on: the client has read what was sent."""
        super().resume_writing()
        self._move_if_drained()

    def _move_if_drained(self) -> None:
        owner = self.conn.owner
        if owner is None or self._gone or self.transport.is_closing():
            return
        if self.transport.get_write_buffer_size():
            return
        self._gone = True
        descriptor = self.transport.get_extra_info("socket").fileno()
        try:
            self._mover.move(owner, descriptor, self.conn.trailing_data[0])
        except OSError as exc:
            log.warning("a connection cannot go to its worker", worker=owner, problem=repr(exc))
            self._mover.counts["refused"] += 1
            self.transport.write(_REFUSAL)
            self.transport.close()
        else:
            # Closes this process's end of the socket alone.
            self.transport.abort()
