"""The errors of the market data server.

::

    MarketDataError
    ├── WireError                 the bytes of a connection break the framing
    │   ├── EmptyFrame
    │   ├── FrameTooLarge
    │   └── FrameTimeout
    ├── InvalidSymbol             a symbol is not valid
    ├── StompError                a STOMP session must end (gateway.stomp.errors)
    ├── Unhealthy                 a health check found a service not serving
    └── StartError                a service cannot start
        ├── SettingsError
        └── AddressInUse
"""

from __future__ import annotations


class MarketDataError(Exception):
    """Base of every error this project raises on purpose."""


class WireError(MarketDataError):
    """The bytes of a connection break the framing; the connection must end.

    ``reason`` is the word under which it is counted.
    """

    reason = "wire_error"


class EmptyFrame(WireError):
    """A frame announces a length of zero."""

    reason = "empty_frame"

    def __init__(self) -> None:
        super().__init__("frame announces 0 bytes, at least 1 is needed")


class FrameTooLarge(WireError):
    """A frame announces more than the limit."""

    reason = "frame_too_large"

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"frame announces {size} bytes, limit is {limit} bytes")
        self.size = size
        self.limit = limit


class FrameTimeout(WireError):
    """A frame was begun and not finished in time."""

    reason = "frame_timeout"

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"frame not finished within {timeout_s:g} s")
        self.timeout_s = timeout_s


class InvalidSymbol(MarketDataError):
    """A symbol is empty, too long, or has a character it must not have.

    ``reason`` is the word under which it is counted.
    """

    def __init__(self, symbol: str, reason: str, problem: str) -> None:
        super().__init__(f"symbol {symbol[:40]!r} {problem}")
        self.symbol = symbol
        self.reason = reason


class Unhealthy(MarketDataError):
    """A health check found a service not serving; the message says what was seen."""


class StartError(MarketDataError):
    """A service cannot start; the message tells the operator what to change."""


class SettingsError(StartError):
    """An environment variable is unknown or has a value that cannot be used."""


class AddressInUse(StartError):
    """Another program listens on the address of a service."""

    def __init__(self, address: str) -> None:
        super().__init__(f"cannot listen on {address}: address already in use")
        self.address = address
