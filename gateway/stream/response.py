"""Serve one SSE response as a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.clients.capacity import Capacity, Refusal
from gateway.clients.connection import (
    NORMAL_CLOSURE,
    ConnectionHandler,
    HandlerFactory,
    Peer,
)
from gateway.clients.direct import this_turn
from gateway.clients.guard import GuardedHandler
from gateway.clients.handshake import peer_of
from gateway.clients.head import is_head
from gateway.clients.http11 import DIRECT_BODY, Http11
from gateway.clients.outbox import DEFAULT_HIGH_WATER_BYTES, DEFAULT_MAX_BUFFERED_BYTES, Outbox
from gateway.clients.pump import Pump
from gateway.clients.shared import SharedMessages
from gateway.clients.websocket import ABNORMAL_CLOSURE, CLOSE_TIMEOUT_S
from gateway.errors import TooManyClients
from gateway.sockjs.receiver import until_disconnect
from gateway.stream.events import KEEPALIVE

T = TypeVar("T")

MEDIA_TYPE = "text/event-stream"
# Events that are due at once go in one write, up to this much.
MAX_BYTES_PER_SEND = 64 * 1024
# About as much. Of a larger batch the client takes one update after the other, while it keeps up.
MAX_BATCH = 100


class EventStreamResponse(Response):
    """Stream what a handler sends; to HEAD, send the headers alone.

    Args:
        handler_factory: makes the session.
        capacity: counts the live clients of all endpoints.
        connections: where the connection is while it lasts.
        keepalive_s: see :class:`EventStreamConnection`.
        max_buffered_bytes: what may wait for the client.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self,
        handler_factory: HandlerFactory,
        *,
        capacity: Capacity,
        connections: set[EventStreamConnection],
        keepalive_s: float,
        max_buffered_bytes: int = DEFAULT_MAX_BUFFERED_BYTES,
    ) -> None:
        super().__init__(
            headers={
                # Always UTF-8, so Starlette need not say so.
                "Content-Type": MEDIA_TYPE,
                "Cache-Control": "no-store",
                # nginx would hold events back.
                "X-Accel-Buffering": "no",
            }
        )
        # It ends when it ends.
        del self.headers["content-length"]
        self._handler_factory = handler_factory
        self._capacity = capacity
        self._connections = connections
        self._keepalive_s = keepalive_s
        self._max_buffered_bytes = max_buffered_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the client goes or the handler closes.

        Raises:
            TooManyClients: nothing was sent; the client is not admitted.
        """
        if is_head(scope):
            await super().__call__(scope, receive, send)
            return
        request = Request(scope, receive)
        if not self._capacity.try_enter():
            await self._refuse(request, send)
            return
        try:
            peer = peer_of(request, "sse")
            handler = self._handler_factory()
            connection = EventStreamConnection(
                handler,
                peer,
                send,
                body=scope.get("extensions", {}).get(DIRECT_BODY),
                keepalive_s=self._keepalive_s,
                max_buffered_bytes=self._max_buffered_bytes,
            )
            self._connections.add(connection)
            try:
                await connection.run(self, request)
            finally:
                self._connections.discard(connection)
        finally:
            self._capacity.leave()

    async def _refuse(self, request: Request, send: Send) -> None:
        # HTML standard, 9.2.2: an EventSource never connects again after a status that is not 200.
        # After the end of a stream it does, and waits as long as "retry" says.
        capacity = self._capacity
        retry_after_s = capacity.retry_after_s()
        is_event_source = MEDIA_TYPE in request.headers.get("accept", "")
        if not is_event_source or capacity.last_refusal is Refusal.FULL:
            raise TooManyClients(capacity.explain_refusal(), retry_after_s)
        body = f": {capacity.explain_refusal()}\nretry: {1000 * retry_after_s}\n\n"
        headers = self.raw_headers
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body.encode()})


class EventStreamConnection:
    """One SSE response; a :class:`~gateway.clients.connection.Connection`.

    Args:
        handler: the session.
        peer: the client.
        send: writes to the client, and waits while it does not read.
        body: writes to the client without waiting; None: there is no such way.
        keepalive_s: a comment is sent after so long without an event, so that proxies see life.
    """

    def __init__(
        self,
        handler: ConnectionHandler,
        peer: Peer,
        send: Send,
        *,
        body: Http11 | None = None,
        keepalive_s: float,
        high_water_bytes: int = DEFAULT_HIGH_WATER_BYTES,
        max_buffered_bytes: int = DEFAULT_MAX_BUFFERED_BYTES,
        close_timeout_s: float = CLOSE_TIMEOUT_S,
    ) -> None:
        self.peer = peer
        self.max_batch = MAX_BATCH
        self._send = send
        self._keepalive_s = keepalive_s
        self._close_timeout_s = close_timeout_s
        self._outbox: Outbox[bytes] = Outbox(high_water_bytes, max_buffered_bytes)
        self._pump: Pump[bytes] = Pump()
        self._body = body
        self._turn = this_turn()
        self._is_due = False
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._written_at = self._loop.time()
        self._keepalive_timer: asyncio.TimerHandle | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._handler = GuardedHandler(handler, self)

    @property
    def buffered_bytes(self) -> int:
        """Bytes that were sent here and not yet handed to the network."""
        return self._outbox.buffered_bytes

    @property
    def writable(self) -> bool:
        """Whether the client keeps up."""
        return self._outbox.writable

    def send_nowait(self, message: str | bytes) -> None:
        """Queue events.

        Raises:
            BufferFull: They would pass the bound; they were not queued.
        """
        self.send_text(message.encode() if isinstance(message, str) else message)

    def send_text(self, message: bytes) -> None:
        """Queue events, to be written at the end of this turn; as :meth:`send_nowait`."""
        if not self._closing:
            self._outbox.put(message)
            if not self._is_due:
                self._is_due = True
                self._turn.add(self)

    def write_due(self) -> None:
        """Write what is queued, or let the pump wait for the client that does not take it."""
        self._is_due = False
        outbox, body = self._outbox, self._body
        if self._pump.is_idle and body is not None:
            while outbox and body.takes_body:
                batch = self._next_batch()
                if batch:
                    self._written_at = self._loop.time()
                    body.write_body(batch)
            self._after(outbox.written)
        if outbox:
            self._pump.wake()

    def send_shared(self, messages: SharedMessages) -> None:
        """Queue events that other clients are sent too; as :meth:`send_nowait`."""
        self.send_text(b"".join(messages.messages))

    def close(self, code: int = NORMAL_CLOSURE, reason: str = "") -> None:
        """Deliver what is queued, then end the response; only the first call counts."""
        if not self._closing:
            self._closing = True
            self._close_timer = self._loop.call_later(self._close_timeout_s, self._pump.abort)
            self._pump.wake()
            self._handler.close_soon(code, reason)

    def abort(self) -> None:
        """End at once, even in the middle of an event."""
        self._pump.abort()

    def suppress_heartbeats(self) -> None:
        """Do nothing: a comment costs three bytes, and a proxy may need it."""

    async def run(self, response: Response, request: Request) -> None:
        """Send the headers of ``response``, and events until the client goes or this is closed."""
        self._keep_alive()
        self._handler.open()
        begin = partial(self._begin, response)
        try:
            await self._pump.run(
                begin, self._next_batch, self._write, partial(until_disconnect, request)
            )
        finally:
            self._closing = True
            self._handler.close_soon(ABNORMAL_CLOSURE, "")
            for timer in (self._keepalive_timer, self._close_timer):
                if timer is not None:
                    timer.cancel()
            self._outbox.clear()

    async def _begin(self, response: Response) -> None:
        headers = response.raw_headers
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    def _next_batch(self) -> bytes | None:
        batch = self._after(lambda: self._outbox.take(MAX_BYTES_PER_SEND))
        if batch:
            return b"".join(batch)
        # Nothing is the last.
        return b"" if self._closing else None

    def _after(self, change: Callable[[], T]) -> T:
        # Returns what ``change`` does; lets the session go on if there is room after it.
        was_writable = self._outbox.writable
        result = change()
        if not was_writable and self._outbox.writable:
            self._handler.drained()
        return result

    async def _write(self, batch: bytes) -> bool:
        self._written_at = self._loop.time()
        await self._send({"type": "http.response.body", "body": batch, "more_body": bool(batch)})
        return bool(batch)

    def _keep_alive(self) -> None:
        now = self._loop.time()
        due = self._written_at + self._keepalive_s
        if due <= now:
            due = now + self._keepalive_s
            # A client that does not read needs no comment, and must not collect them.
            if not self.buffered_bytes:
                self.send_text(KEEPALIVE)
        self._keepalive_timer = self._loop.call_at(due, self._keep_alive)
