"""Answer plain reads of one symbol in the protocol itself, past the layers of the framework.

A plain read is ``GET /api/v1/marketdata/SYMBOL`` with headers that change nothing, in one piece, on
a connection that does nothing else. The layers would answer the same, in five times the time. They
answer everything else: other requests, and whatever is not the present state of the symbol.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol

import h11

from gateway.backend.client import DataStatus, Reading
from gateway.clients.request_deadline import TimedHttp11

# In the state of a request: the outcome of a read that is not answered here.
OUTCOME = "marketdata.outcome"

# Whatever they say, the answer is the same. Others, such as Origin, may change it.
_HARMLESS = (
    rb"(?:(?i:user-agent|accept|accept-encoding|accept-language|cache-control|pragma)"
    rb": [\x20-\x7e]*\r\n|(?i:connection: keep-alive)\r\n)*"
)
_REQUEST = re.compile(
    rb"GET /api/v1/marketdata/([A-Za-z0-9._-]{1,64}) HTTP/1\.1\r\n"
    + _HARMLESS
    + rb"(?i:host): ([!-~]{1,300})\r\n"
    + _HARMLESS
    + rb"\r\n"
)
# A request is shorter; a longer one is not looked at.
_MAX_REQUEST = 2000
_HEAD = (
    b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\nx-data-status: live\r\n"
    b"cache-control: no-store\r\ncontent-type: application/json\r\n\r\n%b"
)

Outcome = Reading | Exception | None


class Reads(Protocol):
    """Reads states."""

    def ask(self, symbol: str, done: Callable[[Outcome], None]) -> None:
        """Read the state of a symbol, then call ``done``: with None where the gateway ends."""


class PlainReadHttp11(TimedHttp11):
    """HTTP/1.1 that answers plain reads itself.

    Args:
        reads: reads states; None: the layers answer all requests.
        is_allowed: returns whether a Host names this server; None: any does.
        given: passed on.
    """

    def __init__(
        self, *, reads: Reads | None, is_allowed: Callable[[str], bool] | None, **given: Any
    ) -> None:
        super().__init__(**given)
        self._reads = reads
        self._is_allowed = is_allowed
        # The request whose answer is awaited, and what came after it.
        self._asked = b""
        self._later = b""
        self._is_stopping = False

    def data_received(self, data: bytes) -> None:
        """Begin a plain read, or pass the bytes on."""
        if self._asked:
            # The next request waits, as uvicorn lets it.
            self._later += data
            self.flow.pause_reading()
            return
        if self._reads is not None and len(data) <= _MAX_REQUEST:
            request = _REQUEST.fullmatch(data)
            if request is not None and self._is_idle() and self._is_own(request[2]):
                self._unset_keepalive_if_required()
                self._expect_nothing()
                self._asked = data
                self._reads.ask(request[1].decode(), self._answer)
                return
        super().data_received(data)

    def shutdown(self) -> None:
        """Close after the answer that is awaited, if there is one."""
        if self._asked:
            self._is_stopping = True
        else:
            super().shutdown()

    def _is_idle(self) -> bool:
        conn = self.conn
        return (
            conn.our_state is h11.IDLE
            and conn.their_state is h11.IDLE
            and not conn.trailing_data[0]
            and not self.flow.write_paused
        )

    def _is_own(self, host: bytes) -> bool:
        return self._is_allowed is None or self._is_allowed(host.decode())

    def _answer(self, outcome: Outcome) -> None:
        asked, self._asked = self._asked, b""
        later, self._later = self._later, b""
        if self.transport.is_closing():
            return
        if outcome is None:
            self.transport.close()
            return
        body = b""
        if isinstance(outcome, Reading) and outcome.status is DataStatus.LIVE:
            try:
                body = outcome.json
            except Exception as exc:
                outcome = exc
        if body:
            self._write(body)
        else:
            # The layers say it in the right form.
            before = self.app_state
            self.app_state = {**before, OUTCOME: outcome}
            super().data_received(asked)
            self.app_state = before
            if self._is_stopping:
                super().shutdown()
        if later:
            self.flow.resume_reading()
            self.data_received(later)

    def _write(self, body: bytes) -> None:
        defaults = b"".join(b"%b: %b\r\n" % each for each in self.server_state.default_headers)
        self.transport.write(_HEAD % (defaults, len(body), body))
        self.server_state.total_requests += 1
        if self._is_stopping:
            self.transport.close()
            return
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )
