"""Keep a producer session connected over asyncio: bytes to and from the socket, and reconnects."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import cast

from marketdata.addresses import describe_failure
from marketdata.producer.errors import ProducerError
from marketdata.producer.frames import ServerEnded
from marketdata.producer.session import ProducerSession

CONNECT_TIMEOUT_S = 5.0
# After so long without any answer to what was sent, connect again. A server whose disk is full is
# silent for long, and then a new connection harms nothing; a network that lets nothing through is
# silent for ever.
ANSWER_TIMEOUT_S = 60.0
FIRST_BACKOFF_S = 0.05
MAX_BACKOFF_S = 2.0
# Notice a dead peer also while nothing is to be sent: after 10 s of silence, and 3 probes.
_KEEPALIVE = (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))


class Link:
    """Carry a session over one TCP connection after the other.

    :attr:`failure` is the error that ended the session for ever, :attr:`problem` why there is no
    connection now.

    Args:
        address: host and port of ingest.
        session: the session.
        on_change: called whenever ticks were answered, and with each change of the connection.
        random: the jitter between attempts.
    """

    def __init__(
        self,
        address: tuple[str, int],
        session: ProducerSession,
        on_change: Callable[[], None],
        random: Random,
    ) -> None:
        self._address = address
        self._session = session
        self._on_change = on_change
        self._random = random
        self._connection: _Connection | None = None
        self.failure: ProducerError | None = None
        self.problem = "not yet connected"
        self.connections = 0

    async def run(self) -> None:
        """Stay connected until cancelled, or until :attr:`failure` is set."""
        try:
            await self._stay_connected()
        except Exception as exc:
            # A mistake of ours must not leave senders waiting.
            self.failure = ProducerError(f"internal error: {exc!r}")
            self.failure.__cause__ = exc
            self._on_change()

    async def _stay_connected(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        session = self._session
        while self.failure is None:
            before = session.answered
            was_welcomed = await self._hold_connection()
            self._on_change()
            # A connection that got nothing done may have failed because of what is sent next.
            if was_welcomed and (session.answered > before or not session.unacked):
                backoff_s = FIRST_BACKOFF_S
            if self.failure is None:
                await asyncio.sleep(backoff_s * self._random.uniform(0.5, 1.0))
                backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)

    def send(self) -> None:
        """Write what the session wants to send, as far as the socket takes it."""
        if self._connection is not None:
            self._connection.write_frames()

    async def _hold_connection(self) -> bool:
        loop = asyncio.get_running_loop()
        connection = _Connection(self._session, self._on_change)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await loop.create_connection(lambda: connection, *self._address)
        except OSError as exc:  # TimeoutError is one
            self.problem = f"cannot connect: {describe_failure(exc, CONNECT_TIMEOUT_S)}"
            return False
        except UnicodeError as exc:
            self.problem = f"cannot connect: the host is not a name: {exc}"
            return False
        self._connection = connection
        self.connections += 1
        try:
            problem = await connection.ended
        finally:
            was_welcomed = self._session.welcomed
            self._connection = None
            connection.close()
            self._session.close_connection()
        self.problem = str(problem)
        if isinstance(problem, ProducerError) and not isinstance(problem, ServerEnded):
            self.failure = problem
        return was_welcomed


class _Connection(asyncio.Protocol):
    # One TCP connection. `ended` gets the reason for its end.

    def __init__(self, session: ProducerSession, on_change: Callable[[], None]) -> None:
        self._session = session
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Exception] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._is_full = False
        self._waits_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        _keep_alive(transport.get_extra_info("socket"))
        self._transport.write(self._session.open_connection())
        self._await_answer()

    def data_received(self, data: bytes) -> None:
        if self.ended.done():
            return
        try:
            self._session.receive_data(data)
        except ProducerError as exc:
            self._end(exc)
        else:
            # Any answer shows that the server lives.
            self._waits_since = None
            self.write_frames()
        if self._session.welcomed and self._session.unacked:
            self._await_answer()
        self._on_change()

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        self.write_frames()

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, OSError):
            reason = describe_failure(exc, ANSWER_TIMEOUT_S)
            self._end(ConnectionError(f"connection lost: {reason}"))
        else:
            self._end(ConnectionError("connection closed by the server"))

    def write_frames(self) -> None:
        """Write until the socket is full or the session waits."""
        transport, session = self._transport, self._session
        if transport is None or self.ended.done() or transport.is_closing():
            return
        while not self._is_full and (frame := session.next_frame()) is not None:
            transport.write(frame)
            if self._waits_since is None:
                self._await_answer()

    def close(self) -> None:
        """Close at once. Whatever was written and not acked is sent again by the next one."""
        if self._timer is not None:
            self._timer.cancel()
        self._end(ConnectionError("closed"))
        if self._transport is not None:
            self._transport.abort()

    def _end(self, reason: Exception) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)

    def _await_answer(self) -> None:
        self._waits_since = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(ANSWER_TIMEOUT_S, self._check_answer)

    def _check_answer(self) -> None:
        # One timer for all batches: it looks when it fires, and is set again if it was too early.
        self._timer = None
        if self._waits_since is None:
            return
        due = self._waits_since + ANSWER_TIMEOUT_S
        if self._loop.time() >= due:
            self._end(ConnectionError(f"no answer within {ANSWER_TIMEOUT_S:g} s"))
        else:
            self._timer = self._loop.call_at(due, self._check_answer)


def _keep_alive(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        # Other systems have other names for them.
        with suppress(AttributeError, OSError):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
