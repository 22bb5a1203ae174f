"""Write the frames of a session into one HTTP response."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import Message, Send

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


async def until_disconnect(request: Request) -> None:
    """Return when the client is gone. What it still sends is thrown away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _body(data: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}
