"""Write to a WebSocket at once, without a task in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, cast
from weakref import WeakKeyDictionary

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.protocol import State

from gateway.clients.outbox import DEFAULT_HIGH_WATER_BYTES
from gateway.clients.shared import TEXT_FRAME, frame_head

# RFC 6455, 7.4.1: a close frame without a code came, or none.
NO_STATUS = 1005
# The entry of an ASGI scope's extensions under which an application finds its DirectWebSocket.
EXTENSION = "marketdata.direct"


# How much is parsed at once: at most 680 of the smallest frames, which take 5 ms.
SLICE_BYTES = 4096
# After so many frames of one client, the other clients get their turn.
FRAMES_PER_TURN = 32
# What may come after our close frame: what was on its way, and the answer to it.
FRAMES_AFTER_CLOSE = 100

# Nothing waits for a connection that was handed over.
_WRITABLE = asyncio.Event()
_WRITABLE.set()


class Writer(Protocol):
    """A connection that writes at the end of a turn."""

    def write_due(self) -> None:
        """Write what was sent in this turn, if it was not written yet."""


class Turn:
    """The connections of one event loop that have something to write at the end of its turn.

    One callback serves all: one each would cost as much as its work besides the system call.
    """

    def __init__(self) -> None:
        self._due: list[Writer] = []
        self._is_held = False

    def add(self, connection: Writer) -> None:
        """Let ``connection`` write; once, when something became due."""
        due = self._due
        if not due and not self._is_held:
            asyncio.get_running_loop().call_soon(self.write)
        due.append(connection)

    def hold(self) -> None:
        """Let all write with the next call of :meth:`write`, which comes in this turn."""
        self._is_held = not self._due

    def write(self) -> None:
        """Let all write now; the end of the turn has nothing left to do."""
        self._is_held = False
        due, self._due = self._due, []
        for connection in due:
            connection.write_due()


_TURNS: WeakKeyDictionary[asyncio.AbstractEventLoop, Turn] = WeakKeyDictionary()


def this_turn() -> Turn:
    """Return the turn of the running event loop."""
    loop = asyncio.get_running_loop()
    turn = _TURNS.get(loop)
    if turn is None:
        turn = _TURNS[loop] = Turn()
    return turn


class Receiver:
    """Takes the place of uvicorn's queue, and hands messages to the application by call."""

    __slots__ = ("_loop", "_on_lost", "on_message", "on_overhead")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_message: Callable[[str | bytes], None],
        on_overhead: Callable[[int], None],
        on_lost: Callable[[int, str], None],
    ) -> None:
        self._loop = loop
        self.on_message = on_message
        self.on_overhead = on_overhead
        self._on_lost: Callable[[int, str], None] | None = on_lost

    def put_nowait(self, event: Any) -> None:
        """Tell the application; that it is over, only once."""
        if event["type"] != "websocket.disconnect":
            text = event.get("text")
            self.on_message(event["bytes"] if text is None else text)
        elif self._on_lost is not None:
            on_lost, self._on_lost = self._on_lost, None
            # Soon, as uvicorn says so in the middle of what it does.
            self._loop.call_soon(on_lost, event.get("code", NO_STATUS), event.get("reason") or "")


class DirectWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, whose application may also write without waiting.

    ASGI's ``send`` must be awaited, so a fan-out needs a task per client, and waking it costs more
    than the write itself. Here a message is framed and written with the others of the same turn of
    the event loop; the transport keeps what the kernel does not take.

    An application that writes so accepts through ASGI and does the rest here. Once it has called
    :meth:`hand_over` it may return: the task that served it, its scope and its queues, which would
    be two thirds of what an idle client costs, are let go. There is no compression, so a frame is
    a header and its message.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._turn = this_turn()
        self._due: list[bytes] = []
        self._due_bytes = 0
        self._high_water = DEFAULT_HIGH_WATER_BYTES
        self._paused = False
        self._on_drained: Callable[[], None] = lambda: None
        # Whether the client keeps up; see Connection.
        self.writable_now = True
        self._receiver: Receiver | None = None
        # Received, and left for the next turn of the event loop.
        self._unread = b""
        # Frames of this turn; and those that carried no whole message, to be reported.
        self._frames = 0
        self._overhead = 0
        self._frames_after_close = 0

    @property
    def buffered_bytes(self) -> int:
        """Bytes that were sent here and that the kernel has not taken."""
        return self._due_bytes + self.transport.get_write_buffer_size()

    def watch(self, high_water_bytes: int, on_drained: Callable[[], None]) -> None:
        """Call ``on_drained`` each time that the client caught up after ``high_water_bytes``."""
        self._high_water = high_water_bytes
        self._on_drained = on_drained
        self.transport.set_write_buffer_limits(high_water_bytes)

    def hand_over(
        self,
        on_message: Callable[[str | bytes], None],
        on_overhead: Callable[[int], None],
        on_lost: Callable[[int, str], None],
    ) -> None:
        """Call ``on_message`` for each message from now on, and ``on_lost`` once, at the end.

        ``on_overhead`` gets the number of frames that carried no whole message: pings, pongs and
        fragments. It has been accepted. None may raise, and ASGI's receive and send are over.
        """
        came = self.queue
        self._receiver = Receiver(self.loop, on_message, on_overhead, on_lost)
        # uvicorn tells an application everything through its queue.
        self.queue = cast("asyncio.Queue[Any]", self._receiver)
        self.writable = _WRITABLE
        # Of no use any more, and of some size.
        self.scope = {}  # type: ignore[typeddict-item]
        # The parser keeps the request itself.
        self.request.headers.clear()
        del self.request, self.response
        while not came.empty():
            self._receiver.put_nowait(came.get_nowait())
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    def send_nowait(self, data: bytes, opcode: int = TEXT_FRAME) -> None:
        """Send one message at the end of this turn of the event loop."""
        size = len(data)
        due = self._due
        if not due:
            self._turn.add(self)
        due.append(frame_head(opcode, size))
        due.append(data)
        self._due_bytes += size
        if self._due_bytes >= self._high_water:
            self.writable_now = False

    def send_frames(self, frames: bytes) -> None:
        """Send whole frames at the end of this turn, or at once where they are many.

        A batch may be larger than a client that keeps up should ever have waiting; only what the
        kernel does not take says how it reads.
        """
        due = self._due
        if not due:
            self._turn.add(self)
        due.append(frames)
        self._due_bytes += len(frames)
        if self._due_bytes >= self._high_water:
            self.write_due()

    def close_nowait(self, code: int, reason: str, timeout_s: float) -> None:
        """Close after what was sent; a client that has not taken it in time is cut off."""
        self.write_due()
        # The client's own close may have come after what is handled.
        if self.close_sent or self.transport.is_closing() or self.conn.state is not State.OPEN:
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
        if self._receiver is None:
            super().pause_writing()
        self._paused = True
        self.writable_now = False

    def resume_writing(self) -> None:
        """Note that it caught up; the transport says so."""
        if self._receiver is None:
            super().resume_writing()
        self._paused = False
        self._drained()

    def data_received(self, data: bytes) -> None:
        """Parse ``data``, a bounded number of frames per turn of the event loop."""
        if self._unread:
            self._unread += data
        else:
            self._parse(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """End; what is unread has no reader any more."""
        self._unread = b""
        super().connection_lost(exc)

    def _parse(self, data: bytes) -> None:
        self._frames = 0
        for start in range(0, len(data), SLICE_BYTES):
            # A client that goes on to send after our close is read, and not parsed.
            if self._frames_after_close > FRAMES_AFTER_CLOSE or self.transport.is_closing():
                return
            frames = self._frames
            end = start + SLICE_BYTES
            super().data_received(data[start:end])
            if self._overhead and self._receiver is not None:
                overhead, self._overhead = self._overhead, 0
                self._receiver.on_overhead(overhead)
            if self.close_sent:
                self._frames_after_close += self._frames - frames
            if self._frames >= FRAMES_PER_TURN and end < len(data):
                self._unread = data[end:]
                self.transport.pause_reading()
                self.loop.call_soon(self._parse_unread)
                return

    def _parse_unread(self) -> None:
        data, self._unread = self._unread, b""
        if data:
            if not self.read_paused:
                self.transport.resume_reading()
            self._parse(data)

    def handle_ping(self) -> None:
        """Answer, and count it."""
        self._count_overhead()
        super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        """Take it, and count it."""
        self._count_overhead()
        super().handle_pong(event)

    def handle_cont(self, event: Frame) -> None:
        """Take it, and count it."""
        self._count_overhead()
        super().handle_cont(event)

    def handle_text(self, event: Frame) -> None:
        """Take it; the beginning of a fragmented message counts as the other fragments do."""
        if not event.fin:
            self._count_overhead()
        super().handle_text(event)

    def handle_bytes(self, event: Frame) -> None:
        """Take it; the beginning of a fragmented message counts as the other fragments do."""
        if not event.fin:
            self._count_overhead()
        super().handle_bytes(event)

    def _count_overhead(self) -> None:
        self._frames += 1
        self._overhead += 1

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

    async def run_asgi(self) -> None:
        """Serve; as uvicorn does, but a connection that was handed over goes on after its task."""
        try:
            await self.app(self.scope, self.receive, self.send)
        except ClientDisconnected:
            pass
        except BaseException:
            self.logger.exception("Exception in ASGI application\n")
            self.send_500_response()
        else:
            if not self.handshake_complete:
                self.logger.error("ASGI callable returned without completing handshake.")
                self.send_500_response()
            if self._receiver is not None:
                return
        if self.close_timer is None:
            self.transport.close()

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
        self._frames += 1
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
        if self._receiver is None:
            super().send_receive_event_to_app()
            return
        (data,), self.frames = self.frames, []
        if not self.close_sent:
            is_text = self.curr_msg_data_type == "text"
            self._receiver.on_message(data.decode() if is_text else data)

    def write_due(self) -> None:
        """Write what was sent in this turn, if it was not written yet."""
        due = self._due
        if not due:
            return
        data = due[0] if len(due) == 1 else b"".join(due)
        due.clear()
        self._due_bytes = 0
        # RFC 6455, 5.5.1: nothing follows a close frame, also one that answers the client's, which
        # may have gone out with a pong while what came before it is still being handled.
        is_open = self.conn.state is State.OPEN and not self.close_sent
        if is_open and not self.transport.is_closing():
            self.transport.write(data)
            if not self.writable_now and not self._paused:
                self._drained()

    def _drained(self) -> None:
        self.writable_now = True
        self._on_drained()
