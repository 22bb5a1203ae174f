"""The errors of SockJS. The client gets their text.

::

    MarketDataError
    └── SockJsError
        ├── PayloadError              what a client sent is not a list of messages
        │   ├── PayloadExpected
        │   ├── BrokenJsonEncoding
        │   ├── PayloadTooLarge
        │   └── PayloadTimeout
        ├── CallbackError             the callback of jsonp or htmlfile cannot be used
        │   ├── CallbackRequired
        │   └── InvalidCallback
        ├── NotFound                  nothing has this address
        ├── UnknownSession            the session is not, or no longer, there
        ├── TooManySessions           no further session can be opened now
        ├── NotAdmitted               too many clients, or the server stops
        └── OriginRefused             pages of this origin may not connect
"""

from __future__ import annotations

from marketdata.errors import MarketDataError


class SockJsError(MarketDataError):
    """A request that SockJS refuses; ``reason`` is the name under which it is counted."""

    reason = "sockjs_error"


class PayloadError(SockJsError):
    """What a client sent is not a list of messages."""

    reason = "payload"


class PayloadExpected(PayloadError):
    """The payload is missing, or is JSON and not an array of strings."""

    reason = "payload_expected"

    def __init__(self) -> None:
        super().__init__("Payload expected.")


class BrokenJsonEncoding(PayloadError):
    """The payload is not JSON in UTF-8."""

    reason = "broken_json"

    def __init__(self) -> None:
        super().__init__("Broken JSON encoding.")


class PayloadTooLarge(PayloadError):
    """The payload is longer than the limit."""

    reason = "payload_too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"Payload too large: the limit is {limit} bytes.")
        self.limit = limit


class PayloadTimeout(PayloadError):
    """The payload was begun and not finished in time."""

    reason = "payload_timeout"

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"Payload not finished within {timeout_s:g} s.")
        self.timeout_s = timeout_s


class CallbackError(SockJsError):
    """The callback of jsonp or htmlfile cannot be used."""

    reason = "callback"


class CallbackRequired(CallbackError):
    """The request names no callback."""

    def __init__(self) -> None:
        super().__init__('"callback" parameter required')


class InvalidCallback(CallbackError):
    """The callback is not a plain JavaScript name."""

    def __init__(self) -> None:
        super().__init__('invalid "callback" parameter')


class NotFound(SockJsError):
    """Nothing has this address."""

    reason = "not_found"

    def __init__(self) -> None:
        super().__init__("Not found.")


class UnknownSession(SockJsError):
    """The session is not, or no longer, there."""

    reason = "unknown_session"

    def __init__(self) -> None:
        super().__init__("No such session.")


class TooManySessions(SockJsError):
    """No further session can be opened now."""

    reason = "too_many_sessions"

    def __init__(self, limit: int) -> None:
        super().__init__(f"All {limit} sessions are taken.")
        self.limit = limit


class NotAdmitted(SockJsError):
    """The server admits no further client now."""

    reason = "not_admitted"

    def __init__(self, problem: str, retry_after_s: int) -> None:
        super().__init__(problem)
        self.retry_after_s = retry_after_s


class OriginRefused(SockJsError):
    """Pages of this origin may not connect."""

    reason = "origin"

    def __init__(self, explanation: str) -> None:
        super().__init__(f"Origin not allowed: {explanation}")
