"""Close connections that send no request in time, and those of clients that are not admitted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import h11

from gateway.clients.http11 import Http11

# The states of a client that owes us nothing.
_COMPLETE = frozenset(
    {
        h11.DONE,
        h11.MUST_CLOSE,
        h11.CLOSED,
        h11.ERROR,
        h11.SWITCHED_PROTOCOL,
    }
)


UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\n"
    b"Retry-After: %d\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)


class TimedHttp11(Http11):
    """HTTP/1.1 whose requests have to arrive in time, and whose live clients are admitted.

    The time of the first request begins with the connection, that of each later one with its first
    byte. Between two requests uvicorn's own timeout holds.

    Args:
        request_timeout_s: how long a request may take to arrive, with its body.
        expired: called with the reason when a connection is closed for it.
        turn_away: returns the Retry-After of a WebSocket client that is not admitted, else None.
        given: passed on to uvicorn.
    """

    def __init__(
        self,
        *,
        request_timeout_s: float,
        expired: Callable[[str], None],
        turn_away: Callable[[], int | None],
        **given: Any,
    ) -> None:
        super().__init__(**given)
        self._request_timeout_s = request_timeout_s
        self._expired = expired
        self._turn_away = turn_away
        self._request_timer: asyncio.TimerHandle | None = None
        self._is_websocket = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a request."""
        super().connection_made(transport)
        self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing any more."""
        self._expect_nothing()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Handle what came, and begin or end the time of a request."""
        super().handle_events()
        state = self.conn.their_state
        if self._is_websocket or state in _COMPLETE:
            self._expect_nothing()
        elif state is h11.SEND_BODY or self.conn.trailing_data[0]:
            self._expect_request()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Leave the connection to the protocol of WebSockets, which has its own timeouts."""
        self._is_websocket = True
        retry_after_s = self._turn_away()
        if retry_after_s is None:
            super().handle_websocket_upgrade(event)
            return
        # Before the handshake is parsed again and an application begins: 0.12 ms instead of 0.36,
        # where a client that is admitted and resumes takes 0.7.
        self.transport.write(UNAVAILABLE % retry_after_s)
        self.transport.close()

    def on_response_complete(self) -> None:
        """Give a request that came together with the one before its time, too."""
        self._expect_nothing()
        super().on_response_complete()

    def _expect_request(self) -> None:
        if self._request_timer is None:
            self._request_timer = self.loop.call_later(self._request_timeout_s, self._expire)

    def _expect_nothing(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

    def _expire(self) -> None:
        self._request_timer = None
        begun = self.conn.their_state is h11.SEND_BODY or bool(self.conn.trailing_data[0])
        self._expired("request_unfinished" if begun else "no_request")
        if self.cycle is not None:
            # The application waits for the rest of the body.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()
