"""One SockJS session on the event loop: its rules, its one timer, its present receiver."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from gateway.clients.connection import (
    ANY_BATCH,
    NORMAL_CLOSURE,
    HandlerFactory,
    NotText,
    Peer,
)
from gateway.clients.guard import GuardedHandler
from gateway.clients.pump import Begin, Listen, Pump
from gateway.clients.shared import SharedMessages
from gateway.sockjs.frames import encode_each
from gateway.sockjs.session import SessionLimits, SockJsSession, State

# Writes one frame; says whether the receiver can take more.
WriteFrame = Callable[[str], Awaitable[bool]]


class Receiver(Protocol):
    """The present carrier of frames to the client."""

    def wake(self) -> None:
        """Ask :meth:`SockJsConnection.next_frame` for frames, now or soon."""

    def abort(self) -> None:
        """End, without what is still queued."""


class SockJsConnection:
    """One SockJS session; a :class:`~gateway.clients.connection.Connection`."""

    def __init__(
        self,
        handler_factory: HandlerFactory,
        peer: Peer,
        limits: SessionLimits,
        on_end: Callable[[SockJsConnection], None],
    ) -> None:
        self.peer = peer
        self.max_batch = ANY_BATCH
        self._loop = asyncio.get_running_loop()
        self._session = SockJsSession(self._loop.time(), limits)
        self._on_end = on_end
        self._receiver: Receiver | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._drain_awaited = False
        self._handler = GuardedHandler(handler_factory(), self)

    @property
    def close_reason(self) -> tuple[int, str] | None:
        """Why the session is closing or closed."""
        return self._session.close_reason

    @property
    def is_taken(self) -> bool:
        """Whether a receiver is there, so that another one is turned away."""
        return self._session.is_receiving

    @property
    def buffered_bytes(self) -> int:
        """Encoded bytes of the messages that the client still has to get."""
        return self._session.buffered_bytes

    @property
    def writable(self) -> bool:
        """Whether the client keeps up."""
        return self._session.writable

    def send_nowait(self, message: str | bytes) -> None:
        """Queue ``message``; binary that is UTF-8 goes as the text it is.

        Raises:
            BufferFull: It would pass the bound; it was not queued.
            NotText: It is binary and not UTF-8.
        """
        if isinstance(message, bytes):
            try:
                message = message.decode()
            except UnicodeDecodeError as exc:
                raise NotText(len(message)) from exc
        self._session.send(message)
        self._drain_awaited = not self._session.writable
        self._wake()

    def send_text(self, message: bytes) -> None:
        """Queue a text message.

        Raises:
            BufferFull: It would pass the bound; it was not queued.
        """
        self.send_nowait(message.decode())

    def send_shared(self, messages: SharedMessages) -> None:
        """Queue text messages that other clients are sent too.

        Raises:
            BufferFull: One would pass the bound; those before it were queued.
        """
        self._session.send_encoded(messages.form(encode_each))
        self._drain_awaited = not self._session.writable
        self._wake()

    def close(self, code: int = NORMAL_CLOSURE, reason: str = "") -> None:
        """Deliver what is queued, then close; only the first call counts."""
        self._session.close(self._loop.time(), code, reason)
        self._changed()
        self._wake()

    def suppress_heartbeats(self) -> None:
        """Send no more ``h`` frames."""
        self._session.suppress_heartbeats()
        self._changed()

    def open(self) -> None:
        """Let the handler begin."""
        self._handler.open()
        self._changed()

    def receive(self, payload: bytes | str, *, single_allowed: bool = False) -> None:
        """Hand the messages of ``payload`` to the handler.

        Raises:
            PayloadError: It is no list of messages; the session lives on.
        """
        messages = self._session.receive(payload, single_allowed=single_allowed)
        if not messages:
            self.count_overhead(1)
        for message in messages:
            self._handler.message(message)

    def count_overhead(self, frames: int) -> None:
        """Report frames without a message to the handler."""
        self._handler.overhead(frames)

    def attach(self) -> str | None:
        """Begin to receive, or return the close frame that turns the receiver away."""
        refusal = self._session.attach(self._loop.time())
        self._changed()
        return refusal

    async def deliver(self, begin: Begin, write: WriteFrame, listen: Listen) -> None:
        """Write frames to the attached receiver until it is full, closed, or gone.

        A receiver that ends before its time takes the session with it.

        Args:
            begin: Starts the response.
            write: Writes one frame; calls :meth:`detach` before the last one it can take.
            listen: Returns when the client is gone.
        """
        pump: Pump[str] = Pump()
        self._receiver = pump
        finished = False
        try:
            finished = await pump.run(begin, self.next_frame, write, listen)
        finally:
            # A receiver that detached may already have a successor.
            if self._receiver is pump:
                self._receiver = None
                if not finished:
                    self._session.interrupt(self._loop.time())
                self._changed()

    def deliver_to(self, receiver: Receiver) -> None:
        """Let the attached ``receiver`` have all frames until the session is over."""
        self._receiver = receiver
        receiver.wake()

    def detach(self) -> None:
        """End the receiver in order: what follows waits for the next one."""
        self._receiver = None
        self._session.detach(self._loop.time())
        self._changed()

    def end(self, code: int, reason: str) -> None:
        """End the session at once, and its receiver with it."""
        self._session.end(code, reason)
        self._changed()

    def next_frame(self) -> str | None:
        """Return the next frame for the receiver; asking says that the one before was written."""
        frame = self._session.next_frame(self._loop.time())
        self._tell_if_drained()
        if self._timer is None:
            self._arm()
        return frame

    def _wake(self) -> None:
        if self._receiver is not None:
            self._receiver.wake()

    def _changed(self) -> None:
        # Whatever changed: tell the handler, and keep the timer right.
        if self._session.close_reason is not None:
            self._handler.close_soon(*self._session.close_reason)
        self._tell_if_drained()
        self._arm()
        if self._session.state is State.CLOSED:
            receiver, self._receiver = self._receiver, None
            if receiver is not None:
                receiver.abort()
            self._on_end(self)

    def _tell_if_drained(self) -> None:
        if self._drain_awaited and self._session.writable:
            self._drain_awaited = False
            self._handler.drained()

    def _arm(self) -> None:
        when = self._session.next_timer()
        if self._timer is not None:
            # One that fires too early is armed again then. That is rarer than frames are.
            if when is not None and self._timer.when() <= when:
                return
            self._timer.cancel()
            self._timer = None
        if when is not None:
            self._timer = self._loop.call_at(when, self._check_timers)

    def _check_timers(self) -> None:
        self._timer = None
        self._session.check_timers(self._loop.time())
        self._changed()
        self._wake()
