"""A client as its session sees it: messages in, messages out, and whether it keeps up.

A SockJS session and a plain WebSocket both are a :class:`Connection`, so a protocol such as
STOMP is written once, as a :class:`ConnectionHandler`, and served over either.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.clients.shared import SharedMessages
from marketdata.errors import MarketDataError

# For connections that take any number of updates at once.
ANY_BATCH = sys.maxsize
# RFC 6455, 7.4.1: 1000 is a normal closure, 1011 an unexpected condition in the server.
NORMAL_CLOSURE = 1000
INTERNAL_ERROR = 1011


class NotText(MarketDataError):
    """A binary message that is not UTF-8 cannot go over a connection that carries only text."""

    def __init__(self, size: int) -> None:
        super().__init__(f"a binary message of {size} bytes cannot go over a text connection")
        self.size = size


@dataclass(frozen=True, slots=True)
class Peer:
    """The client, as far as the handshake describes it."""

    transport: str
    address: str | None = None
    origin: str | None = None
    subprotocol: str | None = None
    # Whether binary messages reach the client as such; SockJS carries only text.
    binary: bool = False


class Connection(Protocol):
    """One client, whichever way it came. No method ever waits."""

    @property
    def peer(self) -> Peer:
        """The client."""

    @property
    def max_batch(self) -> int:
        """How many updates it takes at once; of more, the session sends one after the other."""

    @property
    def buffered_bytes(self) -> int:
        """Bytes that were sent here and not yet handed to the network."""

    @property
    def writable(self) -> bool:
        """False from ``high_water`` buffered bytes on, until a quarter of them is left.

        A handler that conflates stops sending here and goes on in ``on_drained``.
        """

    def send_nowait(self, message: str | bytes) -> None:
        """Queue ``message``: str as text, bytes as binary.

        After :meth:`close` it is discarded, as on a closed WebSocket.

        Where binary messages cannot be carried, UTF-8 goes as the text it is.

        Raises:
            BufferFull: The message would pass the bound; it was not queued.
            NotText: The message is binary, is not UTF-8, and this connection carries only text.
        """

    def send_text(self, message: bytes) -> None:
        """Queue a text message, which is UTF-8; otherwise as :meth:`send_nowait`.

        Raises:
            BufferFull: It would pass the bound; it was not queued.
        """

    def send_shared(self, messages: SharedMessages) -> None:
        """Queue text messages that other clients are sent too; otherwise as :meth:`send_text`.

        Raises:
            BufferFull: They would pass the bound; some may have been queued.
        """

    def close(self, code: int = NORMAL_CLOSURE, reason: str = "") -> None:
        """Deliver what is queued, then close; only the first call counts."""

    def suppress_heartbeats(self) -> None:
        """Send no more heartbeats of the transport: the protocol above has its own."""


class ConnectionHandler(Protocol):
    """The application's side of one connection, in the manner of ``asyncio.Protocol``.

    ``on_open`` comes first, ``on_close`` last, each exactly once. An exception that leaves a
    method is logged and closes this one connection with 1011.
    """

    def on_open(self, connection: Connection) -> None:
        """Begin; ``connection`` may be used at once."""

    def on_message(self, message: str | bytes) -> None:
        """Take one message. A text is always valid Unicode, so it can be encoded."""

    def on_overhead(self, frames: int) -> None:
        """Count frames that carry no message: pings, pongs, fragments, empty SockJS payloads.

        They cost nearly as much as messages, so they count against the same limit.
        """

    def on_drained(self) -> None:
        """Go on sending: the connection was not writable and is again."""

    def on_close(self, code: int, reason: str) -> None:
        """End; nothing more comes in and nothing more can be sent."""


HandlerFactory = Callable[[], ConnectionHandler]
