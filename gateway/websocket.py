"""Serve one plain WebSocket as a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway.connection import NORMAL_CLOSURE, HandlerFactory, Peer
from gateway.guard import GuardedHandler
from gateway.handshake import (
    OriginCheck,
    close_websocket,
    origin_allowed,
    peer_of,
    receive_message,
    select_subprotocol,
)
from gateway.outbox import DEFAULT_HIGH_WATER_BYTES, DEFAULT_MAX_BUFFERED_BYTES, Outbox
from gateway.pump import Pump

# A SockJS payload of 64 KiB whose every character is escaped as \uXXXX is 384 KiB long.
DEFAULT_MAX_PAYLOAD_BYTES = 512 * 1024
# RFC 6455, 7.4.1.
MESSAGE_TOO_BIG = 1009
ABNORMAL_CLOSURE = 1006
# How long a client may take for what is queued when we close, before it is given up.
CLOSE_TIMEOUT_S = 5.0


class WebSocketConnection:
    """One plain WebSocket; a :class:`~gateway.connection.Connection`."""

    def __init__(
        self,
        websocket: WebSocket,
        handler_factory: HandlerFactory,
        peer: Peer,
        *,
        max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES,
        high_water_bytes: int = DEFAULT_HIGH_WATER_BYTES,
        max_buffered_bytes: int = DEFAULT_MAX_BUFFERED_BYTES,
        close_timeout_s: float = CLOSE_TIMEOUT_S,
    ) -> None:
        self.peer = peer
        self._websocket = websocket
        self._max_payload_bytes = max_payload_bytes
        self._close_timeout_s = close_timeout_s
        self._outbox: Outbox[str | bytes] = Outbox(high_water_bytes, max_buffered_bytes)
        self._pump: Pump[str | bytes | tuple[int, str]] = Pump()
        self._closing: tuple[int, str] | None = None
        self._gone = (ABNORMAL_CLOSURE, "")
        self._timer: asyncio.TimerHandle | None = None
        self._handler = GuardedHandler(handler_factory(), self)

    @property
    def buffered_bytes(self) -> int:
        """Bytes that were sent here and not yet handed to the network."""
        return self._outbox.buffered_bytes

    @property
    def writable(self) -> bool:
        """Whether the client keeps up."""
        return self._outbox.writable

    def send_nowait(self, message: str | bytes) -> None:
        """Queue ``message``.

        Raises:
            BufferFull: It would pass the bound; it was not queued.
        """
        if self._closing is None:
            self._outbox.put(message)
            self._pump.wake()

    def close(self, code: int = NORMAL_CLOSURE, reason: str = "") -> None:
        """Deliver what is queued, then close; only the first call counts."""
        if self._closing is None:
            self._closing = code, reason
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._close_timeout_s, self._pump.abort)
            self._pump.wake()
            self._handler.close_soon(code, reason)

    def suppress_heartbeats(self) -> None:
        """Do nothing: a plain WebSocket has no heartbeat messages."""

    async def run(self) -> None:
        """Accept the WebSocket and serve it until it is closed."""
        self._handler.open()
        try:
            await self._pump.run(self._accept, self._next_item, self._write, self._listen)
        finally:
            if self._closing is None:
                self._closing = self._gone
                self._handler.close_soon(*self._gone)
            if self._timer is not None:
                self._timer.cancel()
            self._outbox.clear()

    async def _accept(self) -> None:
        await self._websocket.accept(self.peer.subprotocol)

    def _next_item(self) -> str | bytes | tuple[int, str] | None:
        was_writable = self._outbox.writable
        messages = self._outbox.take(1)
        if not was_writable and self._outbox.writable:
            self._handler.drained()
        return messages[0] if messages else self._closing

    async def _write(self, item: str | bytes | tuple[int, str]) -> bool:
        if isinstance(item, tuple):
            await close_websocket(self._websocket, *item)
            return False
        if isinstance(item, str):
            await self._websocket.send_text(item)
        else:
            await self._websocket.send_bytes(item)
        return True

    async def _listen(self) -> None:
        try:
            while True:
                message = await receive_message(self._websocket)
                if len(message) > self._max_payload_bytes:
                    self.close(MESSAGE_TOO_BIG, "Message too big")
                else:
                    self._handler.message(message)
        except WebSocketDisconnect as exc:
            self._gone = exc.code, exc.reason


async def serve_websocket(
    websocket: WebSocket,
    handler_factory: HandlerFactory,
    *,
    subprotocols: Sequence[str] = (),
    allow_origin: OriginCheck | None = None,
    max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES,
    high_water_bytes: int = DEFAULT_HIGH_WATER_BYTES,
    max_buffered_bytes: int = DEFAULT_MAX_BUFFERED_BYTES,
) -> None:
    """Accept ``websocket`` and serve it until it is closed; refuse it if its origin is."""
    if not origin_allowed(websocket, allow_origin):
        await websocket.send_denial_response(Response(status_code=403))
        return
    subprotocol = select_subprotocol(websocket.scope.get("subprotocols", ()), subprotocols)
    peer = peer_of(websocket, "raw-websocket", subprotocol, binary=True)
    connection = WebSocketConnection(
        websocket,
        handler_factory,
        peer,
        max_payload_bytes=max_payload_bytes,
        high_water_bytes=high_water_bytes,
        max_buffered_bytes=max_buffered_bytes,
    )
    await connection.run()
