"""The rules of graphql-transport-ws, without a socket or a clock.

Quotations are from the protocol's own document, PROTOCOL.md of graphql-ws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum
from typing import Any

import orjson

from gateway.graphql.errors import FormattedErrors

SUBPROTOCOL = "graphql-transport-ws"

# Every message of an operation carries its id; clients use UUIDs and counters.
MAX_ID_LENGTH = 256

# A parsed object of JSON.
JsonObject = dict[str, Any]


class CloseCode(IntEnum):
    """Why the server closes the socket."""

    INVALID_MESSAGE = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    SUBPROTOCOL_NOT_ACCEPTABLE = 4406
    INITIALISATION_TIMEOUT = 4408
    ID_IN_USE = 4409
    TOO_MANY_INITIALISATIONS = 4429


class Phase(Enum):
    """How far the connection is."""

    CONNECTED = "connected"
    ACKNOWLEDGED = "acknowledged"
    CLOSED = "closed"


class MessageType(StrEnum):
    """The messages of a client."""

    CONNECTION_INIT = "connection_init"
    PING = "ping"
    PONG = "pong"
    SUBSCRIBE = "subscribe"
    COMPLETE = "complete"


# Where each message leads; what is not listed is an invalid message.
TRANSITIONS: Mapping[tuple[Phase, MessageType], Phase | CloseCode] = {
    (Phase.CONNECTED, MessageType.CONNECTION_INIT): Phase.ACKNOWLEDGED,
    (Phase.CONNECTED, MessageType.PING): Phase.CONNECTED,
    (Phase.CONNECTED, MessageType.PONG): Phase.CONNECTED,
    (Phase.CONNECTED, MessageType.SUBSCRIBE): CloseCode.UNAUTHORIZED,
    (Phase.CONNECTED, MessageType.COMPLETE): Phase.CONNECTED,
    (Phase.ACKNOWLEDGED, MessageType.CONNECTION_INIT): CloseCode.TOO_MANY_INITIALISATIONS,
    (Phase.ACKNOWLEDGED, MessageType.PING): Phase.ACKNOWLEDGED,
    (Phase.ACKNOWLEDGED, MessageType.PONG): Phase.ACKNOWLEDGED,
    (Phase.ACKNOWLEDGED, MessageType.SUBSCRIBE): Phase.ACKNOWLEDGED,
    (Phase.ACKNOWLEDGED, MessageType.COMPLETE): Phase.ACKNOWLEDGED,
}

REASONS: Mapping[CloseCode, str] = {
    CloseCode.UNAUTHORIZED: "Unauthorized",
    CloseCode.FORBIDDEN: "Forbidden",
    CloseCode.SUBPROTOCOL_NOT_ACCEPTABLE: "Subprotocol not acceptable",
    CloseCode.INITIALISATION_TIMEOUT: "Connection initialisation timeout",
    CloseCode.TOO_MANY_INITIALISATIONS: "Too many initialisation requests",
}


@dataclass(frozen=True, slots=True)
class Subscribe:
    """The client wants an operation run: a query or a subscription."""

    id: str
    query: str
    operation_name: str | None
    variables: JsonObject | None


@dataclass(frozen=True, slots=True)
class Complete:
    """The client wants to hear no more of an operation."""

    id: str


class _Invalid(Exception):
    """A message is not one of the protocol's; the text says why."""


class Session:
    """One connection. After a violation :attr:`closing` says how to close it.

    Args:
        accept: Says by the payload of connection_init whether the client may connect.
    """

    def __init__(self, accept: Callable[[JsonObject], bool] = lambda payload: True) -> None:
        self._accept = accept
        self._outgoing: list[bytes] = []
        # The operations that were not yet completed, by either side.
        self.active: set[str] = set()
        self.phase = Phase.CONNECTED
        self.closing: tuple[CloseCode, str] | None = None

    def receive_message(self, message: str | bytes) -> Subscribe | Complete | None:
        """Return the request in ``message``; answers are added to :meth:`messages_to_send`."""
        if self.phase is Phase.CLOSED:
            return None
        try:
            kind, fields = _parse(message)
        except _Invalid as exc:
            self._close(CloseCode.INVALID_MESSAGE, str(exc))
            return None
        target = TRANSITIONS[self.phase, kind]
        if isinstance(target, CloseCode):
            self._close(target)
            return None
        if kind is MessageType.CONNECTION_INIT and not self._accept(fields.get("payload") or {}):
            self._close(CloseCode.FORBIDDEN)
            return None
        self.phase = target
        return self._take(kind, fields)

    def messages_to_send(self) -> list[bytes]:
        """Return the answers that were not returned before."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def next(self, operation: str, payload: bytes) -> bytes:
        """Return the message with one result, ``payload``, which is JSON."""
        return b"%b%b}" % (next_head(operation), payload)

    def error(self, operation: str, errors: FormattedErrors) -> bytes:
        """End an operation that was not run, or cannot go on; return the message."""
        # "This message terminates the operation and no further messages will be sent."
        self.active.discard(operation)
        return orjson.dumps({"id": operation, "type": "error", "payload": errors})

    def complete(self, operation: str) -> bytes:
        """End an operation that is done; return the message."""
        self.active.discard(operation)
        return orjson.dumps({"id": operation, "type": "complete"})

    def initialisation_timeout(self) -> None:
        """Take note that the time for connection_init is over."""
        if self.phase is Phase.CONNECTED:
            self._close(CloseCode.INITIALISATION_TIMEOUT)

    def refuse_subprotocol(self) -> None:
        """Take note that the client does not speak the protocol."""
        self._close(CloseCode.SUBPROTOCOL_NOT_ACCEPTABLE)

    def _take(self, kind: MessageType, fields: JsonObject) -> Subscribe | Complete | None:
        if kind is MessageType.CONNECTION_INIT:
            self._outgoing.append(b'{"type":"connection_ack"}')
        elif kind is MessageType.PING:
            # "The Pong message must be sent in response" "as soon as possible".
            payload = fields.get("payload")
            pong = {"type": "pong"} if payload is None else {"type": "pong", "payload": payload}
            self._outgoing.append(orjson.dumps(pong))
        elif kind is MessageType.SUBSCRIBE:
            operation, payload = fields["id"], fields["payload"]
            if operation in self.active:
                self._close(CloseCode.ID_IN_USE, f"Subscriber for {operation} already exists")
                return None
            self.active.add(operation)
            return Subscribe(
                operation,
                payload["query"],
                payload.get("operationName"),
                payload.get("variables"),
            )
        elif kind is MessageType.COMPLETE and fields["id"] in self.active:
            self.active.discard(fields["id"])
            return Complete(fields["id"])
        return None

    def _close(self, code: CloseCode, reason: str | None = None) -> None:
        self.phase = Phase.CLOSED
        self.closing = code, reason or REASONS[code]


def next_head(operation: str) -> bytes:
    """Return how each message with a result of ``operation`` begins, up to the payload."""
    return b'{"id":%b,"type":"next","payload":' % orjson.dumps(operation)


def _parse(message: str | bytes) -> tuple[MessageType, JsonObject]:
    if not isinstance(message, str):
        raise _Invalid("Messages have to be text")
    try:
        fields = orjson.loads(message)
    except orjson.JSONDecodeError as exc:
        raise _Invalid("Messages have to be JSON") from exc
    if not isinstance(fields, dict):
        raise _Invalid("Messages have to be JSON objects")
    try:
        kind = MessageType(str(fields.get("type")))
    except ValueError as exc:
        raise _Invalid("The message has a type that clients do not send") from exc
    if kind is MessageType.SUBSCRIBE:
        _check(kind, fields, {"id": str, "payload": dict})
        _check(kind, fields["payload"], {"query": str}, operationName=str, variables=dict)
        _check(kind, fields["payload"], {}, extensions=dict)
    elif kind is MessageType.COMPLETE:
        _check(kind, fields, {"id": str})
    else:
        _check(kind, fields, {}, payload=dict)
    return kind, fields


def _check(
    kind: MessageType, fields: JsonObject, required: Mapping[str, type], **optional: type
) -> None:
    for name, wanted in required.items():
        if not isinstance(fields.get(name), wanted):
            raise _Invalid(f"The {kind} message needs a valid {name}")
    for name, wanted in optional.items():
        if fields.get(name) is not None and not isinstance(fields[name], wanted):
            raise _Invalid(f"The {kind} message has an invalid {name}")
    if "id" in required and not 1 <= len(fields["id"]) <= MAX_ID_LENGTH:
        raise _Invalid(f"The id has to have 1 to {MAX_ID_LENGTH} characters")
