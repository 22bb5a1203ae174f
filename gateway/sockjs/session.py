"""The rules of one SockJS session, whatever its transport: frames out, messages in, timers.

Time is an argument, in seconds of any clock that never goes back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from gateway.clients.outbox import DEFAULT_HIGH_WATER_BYTES, DEFAULT_MAX_BUFFERED_BYTES, Outbox
from gateway.sockjs.frames import (
    HEARTBEAT_FRAME,
    OPEN_FRAME,
    decode_messages,
    encode_close,
    encode_message,
    encode_messages,
    replace_surrogates,
)

# "The session must time out after 5 seconds of not having a receiving connection. The server
# must send a heartbeat frame every 25 seconds."
DEFAULT_DISCONNECT_DELAY_S = 5.0
DEFAULT_HEARTBEAT_S = 25.0

# Smaller frames keep what a slow reader has not got in our buffer, where it can be counted,
# larger ones cost fewer writes.
MAX_FRAME_BYTES = 64 * 1024

ANOTHER_CONNECTION = encode_close(2010, "Another connection still open")
CONNECTION_INTERRUPTED = (1002, "Connection interrupted")
GO_AWAY = (3000, "Go away!")


class State(Enum):
    """The state of a session."""

    CONNECTING = auto()
    OPEN = auto()
    # Closed for the application; a receiver still gets what is queued, and the close frame.
    CLOSING = auto()
    CLOSED = auto()


class Event(Enum):
    """The events that change the state of a session."""

    OPEN_FRAME_TAKEN = auto()
    # The application closes, or a receiver was cut off.
    CLOSE = auto()
    # The session is over at once: no receiver came in time, or its WebSocket ended.
    END = auto()


TRANSITIONS = {
    (State.CONNECTING, Event.OPEN_FRAME_TAKEN): State.OPEN,
    (State.CONNECTING, Event.CLOSE): State.CLOSING,
    (State.CONNECTING, Event.END): State.CLOSED,
    (State.OPEN, Event.CLOSE): State.CLOSING,
    (State.OPEN, Event.END): State.CLOSED,
    (State.CLOSING, Event.OPEN_FRAME_TAKEN): State.CLOSING,
    (State.CLOSING, Event.CLOSE): State.CLOSING,
    (State.CLOSING, Event.END): State.CLOSED,
    (State.CLOSED, Event.CLOSE): State.CLOSED,
    (State.CLOSED, Event.END): State.CLOSED,
}


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """The delays and bounds of a session."""

    disconnect_delay_s: float = DEFAULT_DISCONNECT_DELAY_S
    heartbeat_s: float = DEFAULT_HEARTBEAT_S
    high_water_bytes: int = DEFAULT_HIGH_WATER_BYTES
    max_buffered_bytes: int = DEFAULT_MAX_BUFFERED_BYTES


class SockJsSession:
    """Apply the rules of one session.

    A receiver is a request or WebSocket that carries frames to the client. It attaches, takes
    frames until it is full or got the close frame, and detaches; or it is interrupted.
    """

    def __init__(self, now: float, limits: SessionLimits | None = None) -> None:
        self._limits = limits or SessionLimits()
        self._outbox: Outbox[str] = Outbox(
            self._limits.high_water_bytes, self._limits.max_buffered_bytes
        )
        self.state = State.CONNECTING
        self.close_reason: tuple[int, str] | None = None
        self._opened = False
        self._receiving = False
        self._heartbeats = True
        self._heartbeat_due = False
        # The clock of the present phase: when the last frame was taken while a receiver is
        # there, when the receiver left while none is, when it began while closing.
        self._since = now

    @property
    def buffered_bytes(self) -> int:
        """Encoded bytes of the messages that the client still has to get."""
        return self._outbox.buffered_bytes

    @property
    def writable(self) -> bool:
        """Whether the client keeps up; see :class:`~gateway.clients.outbox.Outbox`."""
        return self._outbox.writable

    def send(self, message: str) -> None:
        """Queue ``message``; a session that is closing discards it.

        Raises:
            BufferFull: It would pass the bound; it was not queued.
        """
        self.send_encoded((encode_message(message),))

    def send_encoded(self, messages: Iterable[str]) -> None:
        """Queue messages as :func:`encode_message` returns them; otherwise as :meth:`send`.

        Raises:
            BufferFull: One would pass the bound; those before it were queued.
        """
        if self.state in {State.CONNECTING, State.OPEN}:
            for message in messages:
                self._outbox.put(message)

    def receive(self, payload: bytes | str, *, single_allowed: bool = False) -> list[str]:
        """Return the messages of ``payload``; a session that is closing discards them.

        Raises:
            PayloadError: The payload is no list of messages; the session lives on.
        """
        messages = decode_messages(payload, single_allowed=single_allowed)
        if self.state in {State.CLOSING, State.CLOSED}:
            return []
        return [replace_surrogates(message) for message in messages]

    def close(self, now: float, code: int, reason: str) -> None:
        """Close after what is queued; only the first call counts."""
        if self.close_reason is None:
            self.close_reason = (code, reason)
            self._since = now
        self._move(Event.CLOSE)

    def end(self, code: int, reason: str) -> None:
        """End at once: no receiver is left."""
        if self.close_reason is None:
            self.close_reason = (code, reason)
        self._outbox.clear()
        self._receiving = False
        self._move(Event.END)

    @property
    def is_receiving(self) -> bool:
        """Whether a receiver is there."""
        return self._receiving

    def attach(self, now: float) -> str | None:
        """Begin to receive, or return the close frame with which the receiver is turned away."""
        if self._receiving:
            # "If a new request appears, it should receive an application close message rather
            # than 'Another connection still open'."
            return ANOTHER_CONNECTION if self.close_reason is None else self._close_frame()
        self._receiving = True
        self._restart_clock(now)
        return None

    def next_frame(self, now: float) -> str | None:
        """Return the next frame for the receiver, None for "not yet".

        Asking for it says that the one before was written.
        """
        if self.state is State.CLOSED:
            return None
        frame = self._next_frame()
        if frame is not None:
            self._heartbeat_due = False
            self._restart_clock(now)
        return frame

    def _next_frame(self) -> str | None:
        if not self._opened:
            self._opened = True
            self._move(Event.OPEN_FRAME_TAKEN)
            return OPEN_FRAME
        if messages := self._outbox.take(MAX_FRAME_BYTES):
            return encode_messages(messages)
        if self.close_reason is not None:
            return self._close_frame()
        return HEARTBEAT_FRAME if self._heartbeat_due else None

    def detach(self, now: float) -> None:
        """End the receiver in order: what it took was written."""
        self._receiving = False
        self._heartbeat_due = False
        self._outbox.written()
        self._restart_clock(now)

    def interrupt(self, now: float) -> None:
        """End the receiver that was cut off.

        "Some messages may have been lost, there is not much we can do about it." So the session
        closes, and says so to the next receiver.
        """
        self._receiving = False
        self._outbox.clear()
        self.close(now, *CONNECTION_INTERRUPTED)

    def suppress_heartbeats(self) -> None:
        """Send no more heartbeat frames."""
        self._heartbeats = self._heartbeat_due = False

    def next_timer(self) -> float | None:
        """Return when :meth:`check_timers` has something to do, None for "nothing to wait for"."""
        if self.state is State.CLOSED:
            return None
        if self._awaits_end:
            return self._since + self._limits.disconnect_delay_s
        if self._heartbeats and not self._heartbeat_due:
            return self._since + self._limits.heartbeat_s
        return None

    def check_timers(self, now: float) -> None:
        """Make a heartbeat due, or end the session if no receiver came in time.

        A closing session ends even with a receiver, which then reads too slowly to be told.
        """
        when = self.next_timer()
        if when is None or now < when:
            return
        if self._awaits_end:
            self.end(*CONNECTION_INTERRUPTED)
        else:
            self._heartbeat_due = True

    @property
    def _awaits_end(self) -> bool:
        return self.close_reason is not None or not self._receiving

    def _restart_clock(self, now: float) -> None:
        # A closing session has one delay for all that is left to do, whoever asks.
        if self.close_reason is None:
            self._since = now

    def _close_frame(self) -> str:
        assert self.close_reason is not None  # noqa: S101  for the type checker
        return encode_close(*self.close_reason)

    def _move(self, event: Event) -> None:
        self.state = TRANSITIONS[self.state, event]
