"""Write the frames of a session into one HTTP response, or to its WebSocket."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.types import Message, Send
from starlette.websockets import WebSocket

from gateway.clients.direct import EXTENSION, DirectWebSocket
from gateway.clients.handshake import fit_close
from gateway.clients.outbox import DEFAULT_HIGH_WATER_BYTES
from gateway.clients.websocket import CLOSE_TIMEOUT_S
from gateway.sockjs.connection import SockJsConnection
from gateway.sockjs.frames import Framing, is_close


class HttpReceiver:
    """One response, of one frame or, if it streams, up to ``limit`` bytes of them."""

    def __init__(
        self,
        connection: SockJsConnection,
        send: Send,
        *,
        framing: Framing,
        callback: str,
        headers: dict[str, str],
        limit: int,
    ) -> None:
        self._connection = connection
        self._send = send
        self._framing = framing
        self._callback = callback
        self._headers = [
            (name.lower().encode(), text.encode("latin-1")) for name, text in headers.items()
        ]
        # A polling response ends with its first frame.
        self._left = limit if framing.streaming else 0

    async def begin(self) -> None:
        """Start a streaming response; a polling one waits for its length."""
        if self._framing.streaming:
            await self._start(self._headers)
            await self._send(_body(self._framing.encode_prelude(self._callback), more=True))

    async def write(self, frame: str) -> bool:
        """Write ``frame``; return whether the response has room for another."""
        data = self._framing.encode_frame(frame, self._callback)
        if not self._framing.streaming:
            await self._start([*self._headers, (b"content-length", str(len(data)).encode())])
        # "In order to garbage collect old messages from the browser memory we should close the
        # connection every now and then." The prelude does not count.
        self._left -= len(data)
        more = self._left > 0 and not is_close(frame)
        if not more:
            # Before the write: the client may ask again as soon as it has this.
            self._connection.detach()
        await self._send(_body(data, more=more))
        return more

    async def _start(self, headers: list[tuple[bytes, bytes]]) -> None:
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})


class WebSocketReceiver:
    """The one receiver of a session over WebSocket; writes as long as the client reads."""

    def __init__(self, websocket: WebSocket, connection: SockJsConnection) -> None:
        self._connection = connection
        self._direct: DirectWebSocket = websocket.scope["extensions"][EXTENSION]
        self._direct.watch(DEFAULT_HIGH_WATER_BYTES, self.wake)
        self._writing = False
        self._woken = False

    def hand_over(self, on_message: Callable[[str | bytes], None]) -> None:
        """Pass messages on; the end of the WebSocket is that of the session."""
        connection = self._connection
        self._direct.hand_over(on_message, connection.count_overhead, connection.end)

    def wake(self) -> None:
        """Write the frames there are."""
        self._woken = True
        # Asking for a frame may let the handler send more, and so come back here.
        if self._writing:
            return
        self._writing = True
        try:
            while self._woken and self._direct.writable_now:
                self._woken = False
                frame = self._connection.next_frame()
                if frame is not None:
                    self._woken = True
                    self._direct.send_nowait(frame.encode())
                    if is_close(frame):
                        self.abort()
                        return
        finally:
            self._writing = False

    def abort(self) -> None:
        """Close the WebSocket as the session closed."""
        assert self._connection.close_reason is not None  # noqa: S101  for the type checker
        self._direct.close_nowait(*fit_close(*self._connection.close_reason), CLOSE_TIMEOUT_S)


async def until_disconnect(request: Request) -> None:
    """Return when the client is gone. What it still sends is thrown away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _body(data: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}
