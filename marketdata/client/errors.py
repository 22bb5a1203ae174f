"""The errors of the client: one class for each kind of failure, at whatever endpoint.

::

    ClientError
    ├── MissingExtra              a package is not installed; the message names the extra
    ├── InvalidArgument           an argument cannot be sent
    ├── ClientClosed              the client was closed before the call
    ├── CannotConnect             the gateway cannot be reached, or the connection broke
    ├── DeadlineExceeded          no answer in time
    ├── UnexpectedAnswer          the answer is not that of a gateway
    └── GatewayError              the gateway says what is wrong
        ├── UnknownSymbol         there is no data for the symbol
        ├── InvalidInput          a symbol, an interval or a time cannot be used
        ├── RateLimited           too many requests or messages
        ├── TooManyClients        the gateway does not admit another live client
        ├── TooManySymbols        the gateway follows as many symbols as it may
        ├── HistoryTooLong        a stream cannot begin so far back
        ├── AggregatorUnavailable the gateway has lost its source
        ├── AccessRefused         the host or the origin is not allowed
        ├── NotFound              there is no such path: the address is not that of a gateway
        └── InternalError         the gateway failed; the reason is in its log
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from marketdata.errors import MarketDataError


class ClientError(MarketDataError):
    """Base of every error of the client."""


class MissingExtra(ClientError, ImportError):
    """A package that a call needs is not installed; ``extra`` has it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed: pip install 'market-data-server[{extra}]'", name=package
        )
        self.extra = extra


class InvalidArgument(ClientError, ValueError):
    """An argument cannot be sent; nothing was asked."""

    def __init__(self, argument: str, problem: str) -> None:
        super().__init__(f"{argument} {problem}")
        self.argument = argument


class ClientClosed(ClientError):
    """The client is closed."""

    def __init__(self) -> None:
        super().__init__("the client is closed")


class CannotConnect(ClientError):
    """The gateway cannot be reached, or the connection broke; ``reason`` says why."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"no answer from {url}: {reason}")
        self.url = url
        self.reason = reason


class DeadlineExceeded(ClientError):
    """The gateway did not answer in time."""

    def __init__(self, url: str, deadline_s: float) -> None:
        super().__init__(f"no answer from {url} within {deadline_s:g} s")
        self.url = url
        self.deadline_s = deadline_s


class UnexpectedAnswer(ClientError):
    """The answer is not that of a gateway: something else, such as a proxy, gave it."""

    def __init__(
        self, url: str, status: int, problem: str, retry_after_s: float | None = None
    ) -> None:
        super().__init__(f"{url} answered {status}: {problem}")
        self.url = url
        self.status = status
        self.retry_after_s = retry_after_s


class FieldProblem(NamedTuple):
    """One field of a request that cannot be used."""

    field: str
    detail: str


class GatewayError(ClientError):
    """The gateway says what is wrong.

    Attributes:
        status: of HTTP; None: a live stream said it.
        type: tells the kind to programs, such as ``urn:market-data:unknown-symbol``, or
            ``invalid_interval`` of a stream.
        detail: explains the case to people.
        retry_after_s: when to ask again, if the gateway says so.
        errors: each field that cannot be used.
    """

    def __init__(
        self,
        detail: str,
        *,
        status: int | None = None,
        type: str = "about:blank",  # noqa: A002  the specification's name
        retry_after_s: float | None = None,
        errors: Sequence[FieldProblem] = (),
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.type = type
        self.retry_after_s = retry_after_s
        self.errors = tuple(errors)


class UnknownSymbol(GatewayError):
    """There is no data for the symbol."""


class InvalidInput(GatewayError):
    """A symbol, an interval, a time or another input cannot be used; ``errors`` names each."""


class RateLimited(GatewayError):
    """More requests or messages than the gateway takes."""


class TooManyClients(GatewayError):
    """The gateway does not admit another live client now."""


class TooManySymbols(GatewayError):
    """The gateway follows as many symbols, or has as many subscriptions, as it may."""


class HistoryTooLong(GatewayError):
    """A stream cannot begin so far back: read the history with ``bars`` and begin later."""


class AggregatorUnavailable(GatewayError):
    """The gateway has lost its source, or the source its database."""


class AccessRefused(GatewayError):
    """The gateway does not serve this host name or this origin."""


class NotFound(GatewayError):
    """There is no such path: the address is not that of a gateway, or lacks its path prefix."""


class InternalError(GatewayError):
    """The gateway failed; the reason is in its log."""
