"""The server side of one STOMP connection."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import inf, isfinite
from typing import ClassVar

from gateway.stomp.protocol.destinations import (
    SIGNALING,
    BarsTopic,
    MarketDataTopic,
    Topic,
    check_send_destination,
    parse_options,
    parse_topic,
)
from gateway.stomp.protocol.errors import (
    CloseCode,
    ConnectTimeout,
    HeartBeatMissed,
    InvalidHeader,
    MissingHeader,
    RateExceeded,
    ServerShutdown,
    SessionLimitExceeded,
    StompError,
    SubscriptionInUse,
    UnexpectedFrame,
    UnknownMessage,
    UnknownSubscription,
    UnsupportedVersion,
)
from gateway.stomp.protocol.events import (
    AckMode,
    Connected,
    Event,
    SignalSent,
    Subscribed,
    Subscription,
    Unsubscribed,
)
from gateway.stomp.protocol.frames import (
    CONNECT_COMMANDS,
    Frame,
    FrameDecoder,
    FrameLimits,
    encode_frame,
)
from gateway.stomp.protocol.heartbeat import HeartBeats, parse_heart_beat
from gateway.stomp.protocol.messages import JSON, SHARED_ID, Message, UpdateMessage, encode_head
from gateway.stomp.protocol.signaling import parse_signal
from gateway.stomp.protocol.transactions import Transactions
from gateway.stomp.protocol.versions import Version, negotiate_version


class Phase(StrEnum):
    """Where a session is."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    CLOSED = "closed"


# Every frame a client may send, and where it leads. Any other one is an error.
TRANSITIONS: Mapping[tuple[Phase, str], Phase] = {
    (Phase.CONNECTING, "CONNECT"): Phase.CONNECTED,
    (Phase.CONNECTING, "STOMP"): Phase.CONNECTED,
    (Phase.CONNECTED, "SEND"): Phase.CONNECTED,
    (Phase.CONNECTED, "SUBSCRIBE"): Phase.CONNECTED,
    (Phase.CONNECTED, "UNSUBSCRIBE"): Phase.CONNECTED,
    (Phase.CONNECTED, "BEGIN"): Phase.CONNECTED,
    (Phase.CONNECTED, "COMMIT"): Phase.CONNECTED,
    (Phase.CONNECTED, "ABORT"): Phase.CONNECTED,
    (Phase.CONNECTED, "ACK"): Phase.CONNECTED,
    (Phase.CONNECTED, "NACK"): Phase.CONNECTED,
    (Phase.CONNECTED, "DISCONNECT"): Phase.CLOSED,
}

EOL = "\n"
SERVER_NAME = "market-data-server"
# RFC 6455, section 5.5: a close frame has 125 octets, 2 of them the code.
MAX_CLOSE_REASON = 123
# Ours are numbers, so that they can be checked without remembering every message.
_NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How much one session may hold, and how long a client may take."""

    # A wide dashboard has a few hundred.
    max_subscriptions: int = 1000
    # Named in the destinations of all subscriptions together; more is a case for `*`.
    max_symbols: int = 5000
    # Of a subscription id or the name of a transaction; clients use counters and UUIDs.
    max_id_length: int = 255
    max_transactions: int = 16
    max_transaction_bytes: int = 512 * 1024
    connect_timeout_s: float = 10.0
    # `sx,sy` of CONNECTED, in milliseconds; 0 turns a direction off.
    heart_beat_ms: tuple[int, int] = (10_000, 10_000)


@dataclass(frozen=True, slots=True)
class Close:
    """How to close the WebSocket; ``error`` is None after a DISCONNECT."""

    code: CloseCode
    reason: str
    error: StompError | None = None


def _allow_any(_: float) -> bool:
    return True


class StompSession:
    """Apply the rules of STOMP to one connection.

    Once :attr:`close` is set the session is over: write what :meth:`data_to_send` still has, then
    close the socket with it. Later data is ignored, and nothing more is sent.

    Args:
        session_id: letters, digits and hyphens that no other session has; starts each message-id.
        now: the time in seconds, of a clock that never goes back; so everywhere here.
        limits: how much the session may hold.
        frame_limits: how much of one frame it accepts.
        allow_frame: counts one frame, at a time, and returns whether it is within the limit.
        frame_rate: the limit, for the ERROR: frames per second.
    """

    def __init__(
        self,
        session_id: str,
        now: float,
        *,
        limits: SessionLimits | None = None,
        frame_limits: FrameLimits | None = None,
        allow_frame: Callable[[float], bool] = _allow_any,
        frame_rate: float = inf,
    ) -> None:
        self.session_id = session_id
        self.phase = Phase.CONNECTING
        self.version = Version.V1_0
        self.close: Close | None = None
        self.subscriptions: dict[str, Subscription] = {}
        self._limits = limits or SessionLimits()
        self._decoder = FrameDecoder(frame_limits)
        self._transactions = Transactions(
            self._limits.max_transactions, self._limits.max_transaction_bytes
        )
        self._heart_beats = HeartBeats((0, 0), (0, 0), now)
        self._connect_deadline = now + self._limits.connect_timeout_s
        self._symbols = 0
        self._messages = 0
        self._allow_frame = allow_frame
        self._frame_rate = frame_rate
        # How many came.
        self.frames = 0
        self._outgoing: list[str | bytes] = []

    @property
    def expects_heart_beats(self) -> bool:
        """Whether the client promised heart-beats; then SockJS needs none of its own."""
        return isfinite(self._heart_beats.receive_within_s)

    def receive_data(self, data: bytes | str, now: float) -> list[Event]:
        """Return what the frames completed by ``data`` ask for, up to the first violation.

        Handle the events before writing :meth:`data_to_send`: then a RECEIPT says they took effect.
        """
        events: list[Event] = []
        if self.close is not None:
            return events
        if isinstance(data, str):
            # SockJS can bring half of a surrogate pair; it stays bytes that are not UTF-8.
            data = data.encode("utf-8", "surrogatepass")
        # STOMP 1.2, Heart-beating: any data shows that the remote end is alive.
        self._heart_beats.last_received = now
        self._decoder.feed(data)
        try:
            while self.phase is not Phase.CLOSED:
                frame = self._decoder.next_frame()
                if frame is None:
                    break
                self.frames += 1
                # Before its work is done: one message may carry thousands.
                if not self._allow_frame(now):
                    raise RateExceeded("messages", self._frame_rate)
                events += self._receive_frame(frame, now)
        except StompError as exc:
            self.fail(exc, now)
        return events

    def send_message(
        self,
        subscription: Subscription,
        message: Message,
        now: float,
        *,
        recovered: bool | None = None,
        conflated: bool = False,
    ) -> None:
        """Send ``message`` to one subscription; to one that ended, do nothing.

        Args:
            subscription: one of this session.
            message: the same object for every subscriber, so that it is encoded once.
            now: the time.
            recovered: in the first message after SUBSCRIBE, whether a resume was possible.
            conflated: whether older states were left out before this one.
        """
        if not subscription.active:
            return
        head = self._next_head(subscription, recovered=recovered, conflated=conflated)
        tail = message.tail(self.version)
        self._outgoing.append(head + tail if isinstance(tail, str) else head.encode() + tail)
        self._heart_beats.last_sent = now

    def encode_update(
        self,
        subscription: Subscription,
        message: UpdateMessage,
        *,
        recovered: bool | None = None,
        conflated: bool = False,
    ) -> bytes:
        """Return the MESSAGE of an update for one subscription alone, which is sent as text.

        Args:
            subscription: one of this session.
            message: the same object for every subscriber, so that it is encoded once.
            recovered: in the first message after SUBSCRIBE, whether a resume was possible.
            conflated: whether older states were left out before this one.
        """
        head = self._next_head(subscription, recovered=recovered, conflated=conflated)
        return head.encode() + message.tail(self.version)

    def _next_head(
        self, subscription: Subscription, *, recovered: bool | None, conflated: bool
    ) -> str:
        self._messages += 1
        head = f"{subscription.head}{self._messages}\n"
        if self.version == Version.V1_2 and subscription.ack is not AckMode.AUTO:
            # STOMP 1.2, MESSAGE: the ack header names the message for ACK and NACK.
            head += f"ack:{self.session_id}-{self._messages}\n"
        if recovered is not None:
            head += "recovered:true\n" if recovered else "recovered:false\n"
        if conflated:
            head += "conflated:true\n"
        return head

    def note_sent(self, now: float) -> None:
        """Note that updates went out, which do not pass through :meth:`data_to_send`."""
        self._heart_beats.last_sent = max(self._heart_beats.last_sent, now)

    def data_to_send(self) -> list[str | bytes]:
        """Return the WebSocket messages to write, in order: str as text, bytes as binary."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def next_timer(self) -> float | None:
        """Return when to call :meth:`check_timers`, or None for never; ask again after each call.

        CONNECT can move it earlier. Other traffic only moves it later, so an armed timer may stay
        as it is until it fires.
        """
        if self.close is not None:
            return None
        beats = self._heart_beats
        deadline = min(self._connect_deadline, beats.send_deadline, beats.receive_deadline)
        return deadline if isfinite(deadline) else None

    def check_timers(self, now: float) -> None:
        """Write a heart-beat that is due, and end the session of a client that is gone."""
        if self.close is not None:
            return
        beats = self._heart_beats
        if now >= self._connect_deadline:
            self.fail(ConnectTimeout(self._limits.connect_timeout_s), now)
        elif now >= beats.receive_deadline:
            self.fail(HeartBeatMissed(beats.receive_within_s), now)
        elif now >= beats.send_deadline:
            # What waits to be written says as much as an EOL.
            if not self._outgoing:
                self._outgoing.append(EOL)
            beats.last_sent = now

    def fail(self, error: StompError, now: float) -> None:
        """End the session: an ERROR frame says why, and is the last one.

        An edge calls this with SlowConsumer, ServerShutdown or its own StompError.
        """
        if self.close is not None:
            return
        headers = {"message": str(error)}
        if error.receipt_id is not None:
            headers["receipt-id"] = error.receipt_id
        if isinstance(error, UnsupportedVersion):
            headers["version"] = error.supported
        if isinstance(error, ServerShutdown):
            headers["reconnect-after-ms"] = str(error.reconnect_after_ms)
        self._send_frame(Frame("ERROR", headers), now)
        self._end(Close(error.close_code, _close_reason(str(error)), error))

    def _receive_frame(self, frame: Frame, now: float) -> list[Event]:
        command = frame.command
        try:
            phase = TRANSITIONS.get((self.phase, command))
            if phase is None:
                raise UnexpectedFrame(command, self.phase)
            events = self._HANDLERS[command](self, frame, now)
        except StompError as exc:
            exc.receipt_id = frame.headers.get("receipt")
            raise
        self.phase = phase
        receipt = frame.headers.get("receipt")
        # STOMP 1.2, Standard Headers: "any client frame other than CONNECT" may ask for a receipt.
        if receipt is not None and command not in CONNECT_COMMANDS:
            self._send_frame(Frame("RECEIPT", {"receipt-id": receipt}), now)
        if phase is Phase.CLOSED:
            self._end(Close(CloseCode.NORMAL, "DISCONNECT"))
        return events

    def _connect(self, frame: Frame, now: float) -> list[Event]:
        version = negotiate_version(frame.headers.get("accept-version"))
        headers = {"version": version.value, "session": self.session_id, "server": SERVER_NAME}
        # Heart-beats came with 1.1.
        if version != Version.V1_0:
            client_ms = parse_heart_beat(frame.headers.get("heart-beat", "0,0"))
            sx, sy = self._limits.heart_beat_ms
            self._heart_beats = HeartBeats((sx, sy), client_ms, now)
            headers["heart-beat"] = f"{sx},{sy}"
        # Only now: an ERROR that answers CONNECT is not escaped, as its receipt was not either.
        self.version = self._decoder.version = version
        self._connect_deadline = inf
        self._send_frame(Frame("CONNECTED", headers), now)
        return [Connected(version, frame.headers)]

    def _subscribe(self, frame: Frame, now: float) -> list[Event]:
        destination = _require(frame, "destination")
        subscription_id = frame.headers.get("id")
        # In 1.0 the id is optional, and the destination identifies a subscription without one.
        if self.version == Version.V1_0 and subscription_id is None:
            key = destination
        else:
            key = self._check_id("id", _require(frame, "id"))
        if key in self.subscriptions:
            raise SubscriptionInUse(key)
        if len(self.subscriptions) >= self._limits.max_subscriptions:
            raise SessionLimitExceeded(self._limits.max_subscriptions, "subscriptions")
        topic = parse_topic(destination)
        symbols = _count_symbols(topic)
        if self._symbols + symbols > self._limits.max_symbols:
            raise SessionLimitExceeded(self._limits.max_symbols, "symbols in its subscriptions")
        options = parse_options(topic, frame.headers)
        subscription = Subscription(
            subscription_id,
            topic,
            _parse_ack(frame),
            encode_head(subscription_id, f"{self.session_id}-", self.version),
        )
        self.subscriptions[key] = subscription
        self._symbols += symbols
        return [Subscribed(subscription, options)]

    def _unsubscribe(self, frame: Frame, now: float) -> list[Event]:
        key = frame.headers.get("id")
        if key is None:
            key = _require(frame, "destination" if self.version == Version.V1_0 else "id")
        subscription = self.subscriptions.pop(key, None)
        if subscription is None:
            raise UnknownSubscription(key)
        subscription.active = False
        self._symbols -= _count_symbols(subscription.topic)
        return [Unsubscribed(subscription)]

    def _send(self, frame: Frame, now: float) -> list[Event]:
        headers = frame.headers
        check_send_destination(_require(frame, "destination"))
        signal = parse_signal(frame.body)
        content_type = headers.get("content-type", JSON)
        # STOMP 1.2, SEND: user headers are passed through in the MESSAGE.
        message = Message(SIGNALING, signal.body, content_type=content_type, user_headers=headers)
        sent = SignalSent(signal, message)
        transaction = headers.get("transaction")
        if transaction is None:
            return [sent]
        self._transactions.hold(transaction, sent)
        return []

    def _begin(self, frame: Frame, now: float) -> list[Event]:
        self._transactions.begin(self._check_id("transaction", _require(frame, "transaction")))
        return []

    def _commit(self, frame: Frame, now: float) -> list[Event]:
        return [*self._transactions.end(_require(frame, "transaction"))]

    def _abort(self, frame: Frame, now: float) -> list[Event]:
        self._transactions.end(_require(frame, "transaction"))
        return []

    def _ack(self, frame: Frame, now: float) -> list[Event]:
        # A topic keeps nothing for a client, so there is nothing to acknowledge: checked only.
        if self.version == Version.V1_0 and frame.command == "NACK":
            raise UnexpectedFrame("NACK", "of STOMP 1.0")
        if self.version == Version.V1_1:
            _require(frame, "subscription")
        # 1.2 names the message by its ack header, which is the message-id here.
        self._check_message_id(_require(frame, "id" if self.version == "1.2" else "message-id"))
        transaction = frame.headers.get("transaction")
        if transaction is not None:
            self._transactions.check(transaction)
        return []

    def _disconnect(self, frame: Frame, now: float) -> list[Event]:
        return []

    _HANDLERS: ClassVar[Mapping[str, Callable[[StompSession, Frame, float], list[Event]]]] = {
        "CONNECT": _connect,
        "STOMP": _connect,
        "SEND": _send,
        "SUBSCRIBE": _subscribe,
        "UNSUBSCRIBE": _unsubscribe,
        "BEGIN": _begin,
        "COMMIT": _commit,
        "ABORT": _abort,
        "ACK": _ack,
        "NACK": _ack,
        "DISCONNECT": _disconnect,
    }

    def _check_id(self, name: str, value: str) -> str:
        if len(value) > self._limits.max_id_length:
            raise InvalidHeader(name, value, f"{self._limits.max_id_length} characters")
        return value

    def _check_message_id(self, message_id: str) -> None:
        # One that the message has in every session; receivers are not remembered.
        if SHARED_ID.fullmatch(message_id):
            return
        session_id, _, number = message_id.rpartition("-")
        if (
            session_id != self.session_id
            or not _NUMBER.fullmatch(number)
            or not 1 <= int(number) <= self._messages
        ):
            raise UnknownMessage(message_id)

    def _send_frame(self, frame: Frame, now: float) -> None:
        # Every header is our own ASCII text or what the client sent in the same version.
        self._outgoing.append(encode_frame(frame, self.version).decode())
        self._heart_beats.last_sent = now

    def _end(self, close: Close) -> None:
        self.close = close
        self.phase = Phase.CLOSED
        for subscription in self.subscriptions.values():
            subscription.active = False
        self.subscriptions.clear()
        # STOMP 1.2, BEGIN: an open transaction is aborted when the connection ends.
        self._transactions.clear()


def _require(frame: Frame, name: str) -> str:
    value = frame.headers.get(name)
    if value is None:
        raise MissingHeader(frame.command, name)
    return value


def _parse_ack(frame: Frame) -> AckMode:
    value = frame.headers.get("ack", AckMode.AUTO)
    if value not in tuple(AckMode):
        raise InvalidHeader("ack", value, " or ".join(AckMode))
    return AckMode(value)


def _count_symbols(topic: Topic) -> int:
    return len(topic.symbols or ()) if isinstance(topic, MarketDataTopic | BarsTopic) else 0


def _close_reason(text: str) -> str:
    return text.encode()[:MAX_CLOSE_REASON].decode(errors="ignore")
