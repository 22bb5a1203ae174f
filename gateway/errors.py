"""The errors of the gateway, the same at every endpoint.

::

    MarketDataError
    ├── InvalidInput             the client sends a value that cannot be used
    ├── UnknownSymbol            the client asks for a symbol without trades
    ├── UnknownView              the client asks for a view that the aggregator does not keep
    ├── NotAcceptable            the client accepts no form that the gateway has
    ├── RateLimited              the client asks too often
    ├── HistoryTooLong           the client wants more history than a live endpoint gives
    ├── OriginRefused            a page of another origin, which is not allowed, asks
    ├── TooManyClients           a live client is not admitted
    └── AggregatorUnavailable    the aggregator does not answer
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from marketdata.errors import MarketDataError

# What an error message may say, so that no input of a client comes back in full length.
MAX_MESSAGE_LENGTH = 500


# Of a request with more errors, these are enough to see why.
MAX_ERRORS = 20


def shorten(text: str, limit: int = MAX_MESSAGE_LENGTH) -> str:
    """Return ``text``, cut to ``limit`` characters; then it ends with three dots."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field of a request."""

    field: str
    detail: str


class InvalidInput(MarketDataError):
    """One or more fields of a request cannot be used."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__("; ".join(f"{error.field}: {error.detail}" for error in errors))
        self.errors = tuple(errors)


class UnknownView(MarketDataError):
    """The aggregator does not keep a view."""


class UnknownSymbol(MarketDataError):
    """There is no data for a symbol."""

    def __init__(self, symbol: str, similar: str = "") -> None:
        hint = f"; did you mean {similar}?" if similar else ""
        super().__init__(f"there is no data for symbol {symbol}{hint}")
        self.symbol = symbol
        # A symbol with data that differs only in case.
        self.similar = similar


class NotAcceptable(MarketDataError):
    """A response cannot have the form that a client wants."""

    def __init__(self, accept: str, offered: Sequence[str], hint: str = "") -> None:
        wanted = ascii(accept[:80])
        super().__init__(
            f"there is no answer for Accept {wanted}, only {', '.join(offered)}"
            + (f"; {hint}" if hint else "")
        )
        self.accept = accept
        self.offered = tuple(offered)


class RateLimited(MarketDataError):
    """A request is over the rate limit."""

    def __init__(self, rate: float, retry_after_s: float) -> None:
        super().__init__(f"more than {rate:g} requests per second")
        self.rate = rate
        self.retry_after_s = retry_after_s


class HistoryTooLong(MarketDataError):
    """A subscription asks for more history than a live endpoint gives."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"since asks for more than {limit} bars; read them from "
            "/api/v1/marketdata/{symbol}/bars, and subscribe with a later since"
        )
        self.limit = limit


class OriginRefused(MarketDataError):
    """A page of an origin that is not allowed makes a request; the message explains it."""


class TooManyClients(MarketDataError):
    """A live client is not admitted: there are too many, or too many come at once."""

    def __init__(self, problem: str, retry_after_s: float) -> None:
        super().__init__(problem)
        self.retry_after_s = retry_after_s


class AggregatorUnavailable(MarketDataError):
    """The aggregator does not answer, or the circuit breaker is open."""

    def __init__(self, reason: str, retry_after_s: float) -> None:
        super().__init__(f"the aggregator is unavailable: {reason}")
        self.reason = reason
        self.retry_after_s = retry_after_s


def retry_after(error: RateLimited | TooManyClients | AggregatorUnavailable) -> int:
    """Return the whole seconds after which a client may come back; rounded up, so it is let in."""
    return max(1, ceil(error.retry_after_s))
