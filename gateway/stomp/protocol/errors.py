"""The errors of a STOMP session, and the close codes they become.

::

    StompError
    ├── FrameError               the bytes are not a STOMP frame
    │   ├── MalformedFrame
    │   ├── UnknownCommand
    │   ├── InvalidEscape
    │   ├── InvalidContentLength
    │   ├── MissingNul
    │   ├── BodyNotAllowed
    │   └── FrameSizeExceeded
    ├── UnencodableHeader        our side: a version has no way to write a header
    ├── ProtocolViolation        a frame that STOMP does not allow here
    │   ├── UnexpectedFrame
    │   ├── UnsupportedVersion
    │   ├── MissingHeader
    │   ├── InvalidHeader
    │   ├── SubscriptionInUse, UnknownSubscription
    │   ├── TransactionInUse, UnknownTransaction
    │   └── UnknownMessage
    ├── RequestRefused           good STOMP that this server does not do
    │   ├── InvalidOption
    │   ├── InvalidDestination
    │   ├── InvalidSignal
    │   ├── SendForbidden
    │   ├── UnknownDestination
    │   ├── HistoryRefused
    │   ├── SessionLimitExceeded
    │   └── ServerLimitExceeded
    └── SessionEnded             the session cannot go on
        ├── ConnectTimeout
        ├── HeartBeatMissed
        ├── RateExceeded
        ├── SlowConsumer
        ├── HistoryFailed
        └── ServerShutdown
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar

from marketdata.errors import MarketDataError


class CloseCode(IntEnum):
    """How a session ends, as the WebSocket close code; 4xxx follow HTTP where it has a status."""

    NORMAL = 1000
    PROTOCOL_ERROR = 1002
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    BAD_REQUEST = 4400
    FORBIDDEN = 4403
    NOT_FOUND = 4404
    TIMEOUT = 4408
    TOO_LARGE = 4413
    LIMIT_EXCEEDED = 4429
    SLOW_CONSUMER = 4490


class StompError(MarketDataError):
    """A STOMP session must end.

    ``reason`` is the name under which it is counted, ``close_code`` tells the client, and
    ``receipt_id`` is the receipt that the frame at fault asked for.
    """

    reason: ClassVar[str] = "internal_error"
    close_code: ClassVar[CloseCode] = CloseCode.INTERNAL_ERROR
    receipt_id: str | None = None


class FrameError(StompError):
    """The bytes of a connection are not a STOMP frame."""

    reason = "malformed_frame"
    close_code = CloseCode.PROTOCOL_ERROR


class MalformedFrame(FrameError):
    """A line of a frame breaks the grammar."""

    def __init__(self, problem: str, seen: bytes | bytearray) -> None:
        super().__init__(f"{problem}: {bytes(seen[:40])!r}")


class UnknownCommand(FrameError):
    """A frame starts with a line that is not a command of STOMP."""

    reason = "unknown_command"

    def __init__(self, command: str) -> None:
        super().__init__(f"unknown command {shown(command)}")
        self.command = command


class InvalidEscape(FrameError):
    """A header has an escape sequence that its version does not define."""

    reason = "invalid_escape"

    def __init__(self, sequence: str, version: str) -> None:
        super().__init__(f"escape sequence {shown(sequence)} is not defined in STOMP {version}")
        self.sequence = sequence


class InvalidContentLength(FrameError):
    """A content-length is not a count of octets."""

    reason = "invalid_content_length"

    def __init__(self, value: str) -> None:
        super().__init__(f"content-length is {shown(value)}, a decimal number is needed")
        self.value = value


class MissingNul(FrameError):
    """The octet after a body of content-length octets is not NUL."""

    reason = "missing_nul"

    def __init__(self, content_length: int) -> None:
        super().__init__(f"no NUL after the {content_length} octets of content-length")
        self.content_length = content_length


class BodyNotAllowed(FrameError):
    """A frame other than SEND, MESSAGE and ERROR has a body."""

    reason = "body_not_allowed"

    def __init__(self, command: str) -> None:
        super().__init__(f"a {command} frame must not have a body")
        self.command = command


class FrameSizeExceeded(FrameError):
    """A frame, a header line or the number of headers is over its limit."""

    reason = "frame_size_exceeded"
    close_code = CloseCode.TOO_LARGE

    def __init__(self, what: str, limit: int, unit: str) -> None:
        super().__init__(f"{what} has more than {limit} {unit}")
        self.limit = limit


class UnencodableHeader(StompError):
    """A header has characters that a version of STOMP has no way to write."""

    reason = "unencodable_header"

    def __init__(self, name: str, version: str) -> None:
        super().__init__(f"header {shown(name)} cannot be written in STOMP {version}")
        self.name = name


class ProtocolViolation(StompError):
    """A frame is well formed, and STOMP does not allow it here."""

    reason = "protocol_violation"
    close_code = CloseCode.PROTOCOL_ERROR


class UnexpectedFrame(ProtocolViolation):
    """A command is not allowed in this phase of a session."""

    reason = "unexpected_frame"

    def __init__(self, command: str, phase: str) -> None:
        super().__init__(f"{command} is not allowed in a session that is {phase}")
        self.command = command


class UnsupportedVersion(ProtocolViolation):
    """Client and server have no version of STOMP in common."""

    reason = "unsupported_version"

    def __init__(self, accept_version: str, supported: str) -> None:
        super().__init__(f"accept-version is {shown(accept_version)}, supported are {supported}")
        self.supported = supported


class MissingHeader(ProtocolViolation):
    """A frame lacks a header that its command requires."""

    reason = "missing_header"

    def __init__(self, command: str, name: str) -> None:
        super().__init__(f"{command} needs the header {name}")
        self.name = name


class InvalidHeader(ProtocolViolation):
    """A header of STOMP has a value that STOMP does not define."""

    reason = "invalid_header"

    def __init__(self, name: str, value: str, allowed: str) -> None:
        super().__init__(f"header {name} is {shown(value)}, allowed is {allowed}")
        self.name = name
        self.value = value


class SubscriptionInUse(ProtocolViolation):
    """A SUBSCRIBE repeats the id of an active subscription."""

    reason = "subscription_in_use"

    def __init__(self, subscription_id: str) -> None:
        super().__init__(f"subscription {shown(subscription_id)} is active already")


class UnknownSubscription(ProtocolViolation):
    """A frame names a subscription that is not active."""

    reason = "unknown_subscription"

    def __init__(self, subscription_id: str) -> None:
        super().__init__(f"there is no subscription {shown(subscription_id)}")


class TransactionInUse(ProtocolViolation):
    """A BEGIN repeats the name of an open transaction."""

    reason = "transaction_in_use"

    def __init__(self, transaction: str) -> None:
        super().__init__(f"transaction {shown(transaction)} was begun already")


class UnknownTransaction(ProtocolViolation):
    """A frame names a transaction that is not open."""

    reason = "unknown_transaction"

    def __init__(self, transaction: str) -> None:
        super().__init__(f"there is no transaction {shown(transaction)}")


class UnknownMessage(ProtocolViolation):
    """An ACK or NACK names a message that this session was not sent."""

    reason = "unknown_message"

    def __init__(self, message_id: str) -> None:
        super().__init__(f"no message {shown(message_id)} was sent in this session")


class RequestRefused(StompError):
    """A frame is good STOMP and asks for what this server does not do."""

    reason = "bad_request"
    close_code = CloseCode.BAD_REQUEST


class InvalidOption(RequestRefused):
    """One of our own SUBSCRIBE headers has a value that cannot be used."""

    reason = "invalid_option"

    def __init__(self, name: str, value: str, allowed: str) -> None:
        super().__init__(f"header {name} is {shown(value)}, allowed is {allowed}")
        self.name = name
        self.value = value


class InvalidDestination(RequestRefused):
    """A destination is of a known kind and its last part cannot be used."""

    reason = "invalid_destination"

    def __init__(self, destination: str, problem: str) -> None:
        super().__init__(f"destination {shown(destination)}: {problem}")
        self.destination = destination


class InvalidSignal(RequestRefused):
    """The body of a SEND to /app/signal is not a signaling message."""

    reason = "invalid_signal"

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"signaling message: {field} {problem}")
        self.field = field


class SendForbidden(RequestRefused):
    """A SEND goes to a topic; only the server publishes there."""

    reason = "send_forbidden"
    close_code = CloseCode.FORBIDDEN

    def __init__(self, destination: str) -> None:
        super().__init__(f"SEND to {shown(destination)} is forbidden, allowed is /app/...")
        self.destination = destination


class UnknownDestination(RequestRefused):
    """A destination is not ours."""

    reason = "unknown_destination"
    close_code = CloseCode.NOT_FOUND

    def __init__(self, command: str, destination: str, known: str) -> None:
        super().__init__(f"{command} to unknown destination {shown(destination)}, known: {known}")
        self.destination = destination


class HistoryRefused(RequestRefused):
    """The history that ``since`` asks for cannot be had this way; an edge finds out."""

    reason = "history_refused"
    close_code = CloseCode.LIMIT_EXCEEDED


class SessionLimitExceeded(RequestRefused):
    """A session holds as much as it may."""

    reason = "session_limit_exceeded"
    close_code = CloseCode.LIMIT_EXCEEDED

    def __init__(self, limit: int, what: str) -> None:
        super().__init__(f"a session may have at most {limit} {what}")
        self.limit = limit


class ServerLimitExceeded(RequestRefused):
    """The server holds as much as it may, for all its sessions together; an edge finds out."""

    reason = "server_limit_exceeded"
    close_code = CloseCode.LIMIT_EXCEEDED


class SessionEnded(StompError):
    """A session cannot go on, whatever the client sends next."""


class ConnectTimeout(SessionEnded):
    """A client did not send CONNECT in time."""

    reason = "connect_timeout"
    close_code = CloseCode.TIMEOUT

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"no CONNECT within {timeout_s:g} s")
        self.timeout_s = timeout_s


class HeartBeatMissed(SessionEnded):
    """A client that promised heart-beats was silent for too long."""

    reason = "heart_beat_missed"
    close_code = CloseCode.TIMEOUT

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"no heart-beat within {timeout_s:g} s")
        self.timeout_s = timeout_s


class RateExceeded(SessionEnded):
    """A client sends more than it may; an edge finds out."""

    reason = "rate_exceeded"
    close_code = CloseCode.LIMIT_EXCEEDED

    def __init__(self, what: str, rate: float) -> None:
        super().__init__(f"more than {rate:g} {what} per second")
        self.rate = rate


class SlowConsumer(SessionEnded):
    """A client reads too slowly for the ``buffer`` policy; an edge finds out, and fails with it."""

    reason = "slow_consumer"
    close_code = CloseCode.SLOW_CONSUMER

    def __init__(self, problem: str) -> None:
        super().__init__(f"slow consumer: {problem}")


class HistoryFailed(SessionEnded):
    """The history that ``since`` asks for could not be read, by a fault of ours."""

    reason = "history_failed"


class ServerShutdown(SessionEnded):
    """The server stops; an edge fails its sessions with it."""

    reason = "server_shutdown"
    close_code = CloseCode.SERVICE_RESTART

    def __init__(self, reconnect_after_ms: int) -> None:
        super().__init__(f"server-shutdown; reconnectAfterMs={reconnect_after_ms}")
        self.reconnect_after_ms = reconnect_after_ms


def shown(value: str) -> str:
    """Return ``value`` short and printable, so that a peer's bytes cannot break our frames."""
    # ascii() escapes line ends, NUL and what UTF-8 cannot encode.
    return ascii(value if len(value) <= 40 else value[:40] + "...")
