"""Serve one data channel as a connection."""

from __future__ import annotations

from collections.abc import Callable

import orjson
from aiortc import RTCDataChannel

from gateway.clients.connection import NORMAL_CLOSURE, ConnectionHandler, Peer
from gateway.clients.guard import GuardedHandler
from gateway.clients.outbox import BufferFull
from gateway.clients.shared import SharedMessages
from gateway.clients.websocket import ABNORMAL_CLOSURE, MESSAGE_TOO_BIG
from gateway.webrtc.pacer import Pacer

# Less than a WebSocket's: what the SCTP association holds comes on top.
HIGH_WATER_BYTES = 16 * 1024
MAX_BUFFERED_BYTES = 1024 * 1024
# Each message costs the event loop 0.15 ms, so the messages of a larger batch go out one by one, as
# far as the pacer lets them.
MAX_BATCH = 10


class ChannelConnection:
    """One open data channel; a :class:`~gateway.clients.connection.Connection`.

    Args:
        channel: carries the messages.
        handler: the session.
        peer: the client.
        pacer: shared by all channels.
        on_closed: called when no more will be sent.
        max_message_bytes: the largest message that we take.
        max_sent_bytes: the largest message that the peer takes; None: any.
    """

    def __init__(
        self,
        channel: RTCDataChannel,
        handler: ConnectionHandler,
        peer: Peer,
        *,
        pacer: Pacer,
        on_closed: Callable[[], None],
        max_message_bytes: int,
        max_sent_bytes: int | None,
    ) -> None:
        self.peer = peer
        self.max_batch = MAX_BATCH
        self._channel = channel
        self._pacer = pacer
        self._on_closed = on_closed
        self._max_message_bytes = max_message_bytes
        self._max_sent_bytes = max_sent_bytes
        self._full = False
        self._closed = False
        self._handler = GuardedHandler(handler, self)

    @property
    def buffered_bytes(self) -> int:
        """Bytes that were sent here and that the association has not taken."""
        return self._channel.bufferedAmount

    @property
    def writable(self) -> bool:
        """Whether the client keeps up, and the loop with all the channels."""
        return not self._full and self._pacer.open

    def open(self) -> None:
        """Begin to take messages and to send."""
        self._channel.bufferedAmountLowThreshold = HIGH_WATER_BYTES // 4
        self._channel.on("bufferedamountlow", self._drained)
        self._channel.on("message", self._take)
        self._channel.on("close", self._gone)
        self._pacer.add(self._go_on)
        self._handler.open()

    def send_nowait(self, message: str | bytes) -> None:
        """Queue ``message``; one that is larger than the peer takes closes the channel.

        Raises:
            BufferFull: It would pass the bound; it was not queued.
        """
        self._put(message, len(message if isinstance(message, bytes) else message.encode()))

    def _put(self, message: str | bytes, size: int) -> None:
        if self._closed or self._channel.readyState != "open":
            return
        if self._max_sent_bytes is not None and size > self._max_sent_bytes:
            self.close(MESSAGE_TOO_BIG, "an answer is larger than your a=max-message-size")
            return
        buffered = self._channel.bufferedAmount
        if buffered + size > MAX_BUFFERED_BYTES:
            raise BufferFull(size, buffered, MAX_BUFFERED_BYTES)
        self._channel.send(message)
        self._pacer.spend()
        if buffered + size >= HIGH_WATER_BYTES:
            self._full = True

    def send_text(self, message: bytes) -> None:
        """Queue a text message; otherwise as :meth:`send_nowait`.

        Raises:
            BufferFull: It would pass the bound; it was not queued.
        """
        self._put(message.decode(), len(message))

    def send_shared(self, messages: SharedMessages) -> None:
        """Queue text messages that other clients are sent too.

        Raises:
            BufferFull: They would pass the bound; some may have been queued.
        """
        for message in messages.messages:
            self.send_text(message)

    def close(self, code: int = NORMAL_CLOSURE, reason: str = "") -> None:
        """Deliver what is queued, say why, then close; only the first call counts.

        A data channel closes without a code, so the last message has it.
        """
        if self._closed:
            return
        self._closed = True
        if self._channel.readyState == "open":
            farewell = {"type": "close", "code": code, "reason": reason}
            self._channel.send(orjson.dumps(farewell).decode())
            self._channel.close()
        self._end(code, reason)

    def suppress_heartbeats(self) -> None:
        """Do nothing: ICE has its own."""

    def _take(self, message: str | bytes) -> None:
        if self._closed:
            return
        if len(message) > self._max_message_bytes:
            self.close(MESSAGE_TOO_BIG, "Message too big")
        else:
            self._handler.message(message)

    def _drained(self) -> None:
        self._full = False
        if not self._closed and self._pacer.open:
            self._handler.drained()

    def _go_on(self) -> None:
        if not self._full:
            self._handler.drained()

    def _gone(self) -> None:
        if not self._closed:
            self._closed = True
            self._end(ABNORMAL_CLOSURE, "")

    def _end(self, code: int, reason: str) -> None:
        self._pacer.discard(self._go_on)
        self._handler.close_soon(code, reason)
        self._on_closed()
