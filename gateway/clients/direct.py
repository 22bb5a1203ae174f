"""Write to a WebSocket at once, without a task in between."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import State

from gateway.clients.outbox import DEFAULT_HIGH_WATER_BYTES

# The entry of an ASGI scope's extensions under which an application finds its DirectWebSocket.
EXTENSION = "marketdata.direct"

# RFC 6455, 5.2: FIN and the opcode, then the length; what a server sends has no mask.
_TEXT, _BINARY = 0x81, 0x82
_LENGTH_16 = struct.Struct("!BBH")
_LENGTH_64 = struct.Struct("!BBQ")


class DirectWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, whose application may also write without waiting.

    ASGI's ``send`` must be awaited, so a fan-out needs a task per client, and waking it costs more
    than the write itself. Here a message is framed and joined with those of the same turn of the
    event loop; then the transport writes them, and keeps what the kernel does not take.

    An application that writes so accepts and receives through ASGI, and does the rest here. There
    is no compression, so a frame is its message behind a header.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._due: list[bytes] = []
        self._due_bytes = 0
        self._high_water = DEFAULT_HIGH_WATER_BYTES
        self._paused = False
        self._on_drained: Callable[[], None] = lambda: None
        # Whether the client keeps up; see Connection.
        self.writable_now = True

    @property
    def buffered_bytes(self) -> int:
        """Bytes that were sent here and that the kernel has not taken."""
        return self._due_bytes + self.transport.get_write_buffer_size()

    def watch(self, high_water_bytes: int, on_drained: Callable[[], None]) -> None:
        """Call ``on_drained`` each time that the client caught up after ``high_water_bytes``."""
        self._high_water = high_water_bytes
        self._on_drained = on_drained
        self.transport.set_write_buffer_limits(high_water_bytes)

    def send_nowait(self, message: str | bytes) -> None:
        """Send ``message`` at the end of this turn of the event loop."""
        if isinstance(message, str):
            opcode, data = _TEXT, message.encode()
        else:
            opcode, data = _BINARY, message
        size = len(data)
        if size < 126:
            head = bytes((opcode, size))
        elif size < 65536:
            head = _LENGTH_16.pack(opcode, 126, size)
        else:
            head = _LENGTH_64.pack(opcode, 127, size)
        due = self._due
        if not due:
            self.loop.call_soon(self._write_due)
        due.append(head)
        due.append(data)
        self._due_bytes += size
        if self._due_bytes >= self._high_water:
            self.writable_now = False

    def close_nowait(self, code: int, reason: str, timeout_s: float) -> None:
        """Close behind what was sent; a client that has not taken it in time is cut off."""
        self._write_due()
        if self.close_sent or self.transport.is_closing():
            return
        # As uvicorn does at "websocket.close", but for the client that never reads.
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(timeout_s, self.transport.abort)

    def pause_writing(self) -> None:
        """Note that the client reads too slowly; the transport says so."""
        super().pause_writing()
        self._paused = True
        self.writable_now = False

    def resume_writing(self) -> None:
        """Note that it caught up; the transport says so."""
        super().resume_writing()
        self._paused = False
        self._drained()

    def shutdown(self) -> None:
        """End; the server stops."""
        if self.close_sent and self.transport.get_write_buffer_size():
            # Closed otherwise, a transport waits for a client that does not read.
            self.transport.abort()
        super().shutdown()

    def handle_connect(self, event: Any) -> None:
        """Let the application find this; the task that serves it did not begin yet."""
        super().handle_connect(event)
        if self.response.status_code == 101:
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions[EXTENSION] = self

    async def send(self, message: Any) -> None:
        """Send; a client that left or broke the protocol before it was accepted is gone.

        For both, uvicorn would log an error of ours, a handshake that was not completed.

        Raises:
            ClientDisconnected: it is.
        """
        if not self.handshake_complete and self.transport.is_closing():
            self.disconnected = self.handshake_complete = True
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            # A refusal completes the handshake too.
            self.handshake_complete = True

    def send_receive_event_to_app(self) -> None:
        """Pass a message on; text that is not UTF-8 ends the connection with 1007.

        uvicorn does so too, but logs it with a traceback, as if it were our fault.
        """
        self.frames = [b"".join(self.frames)]
        if self.curr_msg_data_type == "text" and not self.close_sent:
            try:
                self.frames[0].decode()
            except UnicodeDecodeError:
                self.frames = []
                # Else the client's own close came with it, and is answered.
                if self.conn.state is State.OPEN:
                    self.conn.send_close(1007)
                    self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    def _write_due(self) -> None:
        if not self._due:
            return
        data = b"".join(self._due)
        self._due.clear()
        self._due_bytes = 0
        # RFC 6455, 5.5.1: nothing follows a close frame, also one that answers the client's.
        if not self.close_sent and not self.transport.is_closing():
            self.transport.write(data)
            if not self.writable_now and not self._paused:
                self._drained()

    def _drained(self) -> None:
        self.writable_now = True
        self._on_drained()
