"""Serve one plain WebSocket as a connection."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway.clients.capacity import Capacity
from gateway.clients.connection import ANY_BATCH, NORMAL_CLOSURE, HandlerFactory, Peer
from gateway.clients.direct import EXTENSION, DirectWebSocket
from gateway.clients.guard import GuardedHandler
from gateway.clients.handshake import (
    OriginCheck,
    check_origin,
    fit_close,
    peer_of,
    select_subprotocol,
)
from gateway.clients.outbox import DEFAULT_HIGH_WATER_BYTES, DEFAULT_MAX_BUFFERED_BYTES, BufferFull
from gateway.clients.shared import BINARY_FRAME, SharedMessages
from gateway.errors import OriginRefused

# A SockJS payload of 64 KiB whose every character is escaped as \uXXXX is 384 KiB long.
DEFAULT_MAX_PAYLOAD_BYTES = 512 * 1024
# RFC 6455, 7.4.1.
MESSAGE_TOO_BIG = 1009
ABNORMAL_CLOSURE = 1006
# How long a client may take for what is queued when we close, before it is given up.
CLOSE_TIMEOUT_S = 5.0


class WebSocketConnection:
    """One plain WebSocket; a :class:`~gateway.clients.connection.Connection`.

    Args:
        websocket: not accepted yet.
        handler_factory: makes the session.
        peer: the client.
        on_lost: called once when it is over.
        max_payload_bytes: the largest message of the client.
        high_water_bytes: how much may wait for a client that keeps up.
        max_buffered_bytes: how much may wait for any client.
        close_timeout_s: how long a client may take for what is queued when we close.
    """

    __slots__ = (
        "_close_timeout_s",
        "_closed",
        "_direct",
        "_handler",
        "_high_water_bytes",
        "_max_buffered_bytes",
        "_max_payload_bytes",
        "_on_lost",
        "_websocket",
        "peer",
    )

    max_batch = ANY_BATCH

    def __init__(
        self,
        websocket: WebSocket,
        handler_factory: HandlerFactory,
        peer: Peer,
        on_lost: Callable[[], None],
        *,
        max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES,
        high_water_bytes: int = DEFAULT_HIGH_WATER_BYTES,
        max_buffered_bytes: int = DEFAULT_MAX_BUFFERED_BYTES,
        close_timeout_s: float = CLOSE_TIMEOUT_S,
    ) -> None:
        self.peer = peer
        self._websocket = websocket
        self._direct: DirectWebSocket = websocket.scope["extensions"][EXTENSION]
        self._max_payload_bytes = max_payload_bytes
        self._high_water_bytes = high_water_bytes
        self._max_buffered_bytes = max_buffered_bytes
        self._close_timeout_s = close_timeout_s
        self._on_lost = on_lost
        self._closed = False
        self._handler = GuardedHandler(handler_factory(), self)

    @property
    def buffered_bytes(self) -> int:
        """Bytes that were sent here and not yet handed to the network."""
        return self._direct.buffered_bytes

    @property
    def writable(self) -> bool:
        """Whether the client keeps up."""
        return self._direct.writable_now

    def send_nowait(self, message: str | bytes) -> None:
        """Send ``message`` at the end of this turn of the event loop.

        Raises:
            BufferFull: It would pass the bound; it was not sent.
        """
        if isinstance(message, str):
            self.send_text(message.encode())
        elif not self._closed:
            if not self._direct.writable_now:
                self._check_room(len(message))
            self._direct.send_nowait(message, BINARY_FRAME)

    def send_text(self, message: bytes) -> None:
        """Send a text message at the end of this turn of the event loop.

        Raises:
            BufferFull: It would pass the bound; it was not sent.
        """
        if not self._closed:
            if not self._direct.writable_now:
                self._check_room(len(message))
            self._direct.send_nowait(message)

    def send_shared(self, messages: SharedMessages) -> None:
        """Send text messages that other clients are sent too.

        Raises:
            BufferFull: They would pass the bound; nothing was sent.
        """
        if not self._closed:
            frames, direct = messages.frames, self._direct
            # A client that keeps up is far from the bound.
            if not direct.writable_now:
                self._check_room(len(frames))
            direct.send_frames(frames)

    def _check_room(self, size: int) -> None:
        buffered, limit = self._direct.buffered_bytes, self._max_buffered_bytes
        if buffered + size > limit:
            raise BufferFull(size, buffered, limit)

    def close(self, code: int = NORMAL_CLOSURE, reason: str = "") -> None:
        """Deliver what is queued, then close; only the first call counts."""
        if not self._closed:
            self._closed = True
            self._direct.close_nowait(*fit_close(code, reason), self._close_timeout_s)
            self._handler.close_soon(code, reason)

    def suppress_heartbeats(self) -> None:
        """Do nothing: a plain WebSocket has no heartbeat messages."""

    async def open(self) -> None:
        """Accept the WebSocket and begin; it goes on by itself.

        Raises:
            WebSocketDisconnect: The client is gone.
        """
        await self._websocket.accept(self.peer.subprotocol)
        del self._websocket
        self._direct.watch(self._high_water_bytes, self._handler.drained)
        self._handler.open()
        self._direct.hand_over(self._receive, self._handler.overhead, self._lose)

    def _receive(self, message: str | bytes) -> None:
        if len(message) > self._max_payload_bytes:
            self.close(MESSAGE_TOO_BIG, "Message too big")
        else:
            self._handler.message(message)

    def _lose(self, code: int, reason: str) -> None:
        if not self._closed:
            self._closed = True
            self._handler.close_soon(code, reason)
        self._on_lost()


async def serve_websocket(
    websocket: WebSocket,
    handler_factory: HandlerFactory,
    *,
    subprotocols: Sequence[str] = (),
    allow_origin: OriginCheck | None = None,
    capacity: Capacity | None = None,
    max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES,
    high_water_bytes: int = DEFAULT_HIGH_WATER_BYTES,
    max_buffered_bytes: int = DEFAULT_MAX_BUFFERED_BYTES,
) -> None:
    """Accept ``websocket``; it is served until it is closed, also after this returned.

    It is refused with 403 if its origin is, and with 503 if it is not admitted.
    """
    try:
        check_origin(websocket, allow_origin)
    except OriginRefused as exc:
        await websocket.send_denial_response(Response(f"{exc}\n", 403, media_type="text/plain"))
        return
    if capacity is not None and not capacity.try_enter():
        retry = {"Retry-After": str(capacity.retry_after_s())}
        await websocket.send_denial_response(Response(status_code=503, headers=retry))
        return
    subprotocol = select_subprotocol(websocket.scope.get("subprotocols", ()), subprotocols)
    peer = peer_of(websocket, "raw-websocket", subprotocol, binary=True)
    leave = _nothing if capacity is None else capacity.leave
    connection = WebSocketConnection(
        websocket,
        handler_factory,
        peer,
        leave,
        max_payload_bytes=max_payload_bytes,
        high_water_bytes=high_water_bytes,
        max_buffered_bytes=max_buffered_bytes,
    )
    try:
        await connection.open()
    except WebSocketDisconnect:
        leave()


def _nothing() -> None:
    pass
