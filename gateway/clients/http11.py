"""Answer bytes that are not HTTP, whatever was being answered."""

from __future__ import annotations

from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class Http11(H11Protocol):
    """uvicorn's HTTP/1.1, which a body that breaks off HTTP does not surprise."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # It is new, so its class is all that changes.
        self.conn.__class__ = _StrictConnection

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
