"""Encode one MESSAGE for many subscribers: the part that they share is encoded once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

from gateway.stomp.protocol.errors import UnencodableHeader
from gateway.stomp.protocol.frames import encode_header
from gateway.stomp.protocol.versions import Version

JSON = "application/json"
BINARY = "application/octet-stream"

# Ours to set in a MESSAGE; a SEND that has them cannot pass them through.
RESERVED_HEADERS = frozenset(
    {
        "destination",
        "subscription",
        "message-id",
        "ack",
        "content-type",
        "content-length",
        "receipt",
        "transaction",
        "sequence",
        "epoch",
        "recovered",
        "conflated",
    }
)


# A message-id that is the same in every session, see :class:`SharedHead`. One of a session begins
# with hexadecimal digits.
SHARED_ID = re.compile(r"m[0-9]{1,18}-[0-9]{1,18}")


def encode_head(subscription_id: str | None, message_id: str, version: Version) -> str:
    """Return a MESSAGE up to the number that ends its message-id.

    ``subscription_id`` is None for a client of STOMP 1.0 that gave none.
    """
    lines = ["MESSAGE"]
    if subscription_id is not None:
        lines.append(encode_header("subscription", subscription_id, version))
    return "\n".join([*lines, f"message-id:{message_id}"])


class SharedHead:
    """How MESSAGEs begin for all subscriptions with the same id and version, whatever the session.

    STOMP wants a message-id that is unique to the message; it need not differ between sessions, so
    the whole frame can be the same for all of them. Here it is two numbers: of this head, so that
    two subscriptions of one session never get the same, and of the message.

    Args:
        subscription_id: that of the subscriptions; None as in :func:`encode_head`.
        version: that of the sessions.
        number: one that no other head has.
    """

    __slots__ = ("__weakref__", "_head", "version")

    def __init__(self, subscription_id: str | None, version: Version, number: int) -> None:
        self.version = version
        self._head = encode_head(subscription_id, f"m{number}-", version).encode()

    def encode(self, message: UpdateMessage, number: int, *, conflated: bool) -> bytes:
        """Return the frame of ``message``, whose own number is ``number``."""
        return self.encode_tail(message.tail(self.version), number, conflated=conflated)

    def encode_tail(self, tail: bytes, number: int, *, conflated: bool) -> bytes:
        """Return the frame of an update, given its end from the shared headers on."""
        if conflated:
            return b"%b%d\nconflated:true\n%b" % (self._head, number, tail)
        return b"%b%d\n%b" % (self._head, number, tail)


# The most that the gateway follows by name, in two versions; about 150 bytes each.
@lru_cache(maxsize=100_000)
def encode_destination(destination: str, version: Version) -> bytes:
    """Return the header of a destination, with its line feed."""
    return f"{encode_header('destination', destination, version)}\n".encode()


# The MESSAGE of a state from the shared headers to the NUL: its encoded destination, its sequence
# and epoch, the length of its JSON, and this.
STATE_TAIL = b"%bcontent-type:application/json\nsequence:%d\nepoch:%d\ncontent-length:%d\n\n%b\0"


class UpdateMessage:
    """The MESSAGE of one update; like :class:`Message`, without the cost of what it does not need.

    Args:
        destination: the topic of its symbol.
        body: JSON.
        headers: further ones, encoded, each with its line feed.
    """

    __slots__ = ("_rest", "_tail", "_version", "destination")

    def __init__(self, destination: str, body: bytes, headers: str) -> None:
        self.destination = destination
        self._rest = f"{headers}content-length:{len(body)}\n\n".encode() + body + b"\0"
        # The tail that was asked for last; most sessions have the same version.
        self._version: Version | None = None
        self._tail = b""

    def tail(self, version: Version) -> bytes:
        """Return the end of the frame, from the shared headers to the NUL."""
        if version is not self._version:
            self._tail = encode_destination(self.destination, version) + self._rest
            self._version = version
        return self._tail


class Message:
    """A MESSAGE without the headers that differ between its subscribers.

    Args:
        destination: the topic it was published to.
        body: JSON, unless ``content_type`` says otherwise.
        content_type: text goes out as text, application/octet-stream as binary.
        sequence: position among the states of its symbol.
        epoch: the epoch of the aggregator that counted ``sequence``.
        user_headers: those of the SEND that caused it; reserved names are left out.
    """

    __slots__ = ("_tails", "body", "content_type", "destination", "headers")

    def __init__(
        self,
        destination: str,
        body: bytes,
        *,
        content_type: str = JSON,
        sequence: int | None = None,
        epoch: int | None = None,
        user_headers: Mapping[str, str] | None = None,
    ) -> None:
        self.destination = destination
        self.body = body
        self.content_type = content_type
        self.headers = {"destination": destination, "content-type": content_type}
        if sequence is not None:
            self.headers["sequence"] = str(sequence)
        if epoch is not None:
            self.headers["epoch"] = str(epoch)
        for name, value in (user_headers or {}).items():
            if name not in RESERVED_HEADERS:
                self.headers[name] = value
        self._tails: dict[Version, str | bytes] = {}

    def tail(self, version: Version) -> str | bytes:
        """Return the end of the frame, from the shared headers to the NUL.

        It is bytes where the frame goes out as a binary WebSocket message, and str otherwise:
        WebSocket and SockJS both want str, so a subscriber costs one join and no decoding.
        """
        tail = self._tails.get(version)
        if tail is None:
            tail = self._tails[version] = self._encode_tail(version)
        return tail

    def _encode_tail(self, version: Version) -> str | bytes:
        # STOMP 1.2, Header content-length: "an octet count for the length of the message body".
        lines = [*self._encode_headers(version), f"content-length:{len(self.body)}"]
        head = "\n".join(lines) + "\n\n"
        if self.content_type.partition(";")[0].strip().lower() != BINARY:
            try:
                return f"{head}{self.body.decode()}\0"
            except UnicodeDecodeError:
                # A text message must be UTF-8 (RFC 6455, 8.1), so this body can only be binary.
                pass
        return head.encode() + self.body + b"\0"

    def _encode_headers(self, version: Version) -> Iterator[str]:
        for name, value in self.headers.items():
            try:
                yield encode_header(name, value, version)
            except UnencodableHeader:
                # A user header from a newer client, such as a line feed for a subscriber of 1.0.
                # The message matters more to that subscriber than the header.
                continue
