"""Answer bytes that are not HTTP, whatever was being answered."""

from __future__ import annotations

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class Http11(H11Protocol):
    """uvicorn's HTTP/1.1, which a body that breaks off HTTP does not surprise."""

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
