"""Answer bytes that are not HTTP, whatever was being answered."""

from __future__ import annotations

from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

# The entry of an ASGI scope's extensions under which an application finds its Http11.
DIRECT_BODY = "marketdata.direct_body"


class Http11(H11Protocol):
    """uvicorn's HTTP/1.1, which a body that breaks off HTTP does not surprise."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # It is new, so its class is all that changes.
        self.conn.__class__ = _StrictConnection

    def handle_events(self) -> None:
        """Handle what came; let the application of a request find this.

        The task that serves it did not begin yet.
        """
        super().handle_events()
        cycle = self.cycle
        if cycle is not None:
            # ASGI lets a server add entries.
            cast("dict[str, Any]", cycle.scope).setdefault("extensions", {})[DIRECT_BODY] = self

    @property
    def takes_body(self) -> bool:
        """Whether :meth:`write_body` can write now."""
        cycle = self.cycle
        if cycle is None:
            return False
        return (
            cycle.response_started
            and not cycle.response_complete
            and not cycle.disconnected
            and not self.flow.write_paused
            and not self.transport.is_closing()
        )

    def write_body(self, part: bytes) -> None:
        """Write a part of a body without a length at once; ASGI's ``send`` ends the response.

        ASGI's ``send`` must be awaited, so it needs a task; waking it, and its way through h11,
        costs several times the write itself.
        """
        # RFC 9112, 7.1. HTTP/1.0 has no chunks; there the end of the connection ends the body.
        if self.scope["http_version"] == "1.1":
            part = b"%x\r\n%b\r\n" % (len(part), part)
        self.transport.write(part)

    def send_400_response(self, msg: str) -> None:
        """Answer 400 as far as that can still be said, and close."""
        if self.cycle is not None:
            # The client is gone: what the application says goes nowhere.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:
            # An answer has begun, or is to a HEAD and has no body.
            self.transport.close()


class _StrictConnection(h11.Connection):
    """h11's rules, and one more: a request says the length of its body in one way."""

    def next_event(self) -> Any:
        """Return the next event.

        Raises:
            RemoteProtocolError: the client does not speak HTTP/1.1.
        """
        event = super().next_event()
        if isinstance(event, h11.Request):
            names = {name for name, _ in event.headers}
            # RFC 9112, 6.1: a server MAY reject a request with both, and MUST close the
            # connection: a proxy in front may have taken the other one (request smuggling).
            if b"transfer-encoding" in names and b"content-length" in names:
                raise h11.RemoteProtocolError("both Content-Length and Transfer-Encoding")
        return event
