"""Why a stream ends, and how its client learns it.

::

    MarketDataError
    ├── InvalidInput             (gateway.errors) a symbol cannot be used
    ├── InvalidInterval          (marketdata.intervals) there are no such bars
    ├── HistoryTooLong           (gateway.errors) since asks for too much
    ├── AggregatorUnavailable    (gateway.errors) history failed
    ├── TooManySymbols           (gateway.hub.hub) the gateway follows as many as it may
    └── StreamError
        ├── MalformedMessage     a message that a client must not send
        ├── BinaryMessage
        ├── SubscriptionInUse, UnknownSubscription
        ├── TooManySubscriptions
        ├── TooManyMessages
        ├── FirstMessageTimeout
        └── SlowConsumer
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

from gateway.errors import AggregatorUnavailable, HistoryTooLong, InvalidInput
from gateway.hub.hub import TooManySymbols
from marketdata.errors import MarketDataError
from marketdata.intervals import InvalidInterval


class CloseCode(IntEnum):
    """How a WebSocket ends; 4xxx follow HTTP where it has a status."""

    UNSUPPORTED_DATA = 1003
    INTERNAL_ERROR = 1011
    BAD_REQUEST = 4400
    TIMEOUT = 4408
    LIMIT_EXCEEDED = 4429
    SLOW_CONSUMER = 4490


class StreamError(MarketDataError):
    """A stream must end."""


class MalformedMessage(StreamError):
    """A message is not JSON, or not one of those that a client may send."""


class BinaryMessage(StreamError):
    """A message is binary."""

    def __init__(self) -> None:
        super().__init__("messages are JSON in text, this one is binary")


class SubscriptionInUse(StreamError):
    """A subscription has the id of another."""

    def __init__(self, subscription_id: str) -> None:
        super().__init__(f"subscription id {subscription_id!r} is in use")
        self.subscription_id = subscription_id


class UnknownSubscription(StreamError):
    """There is no subscription of that id."""

    def __init__(self, subscription_id: str) -> None:
        super().__init__(f"there is no subscription with id {subscription_id!r}")
        self.subscription_id = subscription_id


class TooManySubscriptions(StreamError):
    """A connection has as many subscriptions as it may."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a connection has at most {limit} subscriptions")
        self.limit = limit


class TooManyMessages(StreamError):
    """A client sends more than it may."""

    def __init__(self, rate: float) -> None:
        super().__init__(f"more than {rate:g} messages per second")
        self.rate = rate


class FirstMessageTimeout(StreamError):
    """A client asked for nothing."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"no message within {timeout_s:g} s")
        self.timeout_s = timeout_s


class SlowConsumer(StreamError):
    """A client reads too slowly for what it asked to have buffered."""

    def __init__(self) -> None:
        super().__init__("read too slowly for what must not be left out; resume, or use conflate")


class Ending(NamedTuple):
    """The code in the last message, and in the close frame."""

    code: str
    close_code: CloseCode


ENDINGS: Mapping[type[MarketDataError], Ending] = {
    MalformedMessage: Ending("malformed_message", CloseCode.BAD_REQUEST),
    InvalidInput: Ending("invalid_input", CloseCode.BAD_REQUEST),
    InvalidInterval: Ending("invalid_interval", CloseCode.BAD_REQUEST),
    HistoryTooLong: Ending("history_too_long", CloseCode.LIMIT_EXCEEDED),
    AggregatorUnavailable: Ending("history_failed", CloseCode.INTERNAL_ERROR),
    SubscriptionInUse: Ending("subscription_in_use", CloseCode.BAD_REQUEST),
    UnknownSubscription: Ending("unknown_subscription", CloseCode.BAD_REQUEST),
    BinaryMessage: Ending("binary_message", CloseCode.UNSUPPORTED_DATA),
    TooManySubscriptions: Ending("too_many_subscriptions", CloseCode.LIMIT_EXCEEDED),
    TooManySymbols: Ending("too_many_symbols", CloseCode.LIMIT_EXCEEDED),
    TooManyMessages: Ending("rate_limited", CloseCode.LIMIT_EXCEEDED),
    FirstMessageTimeout: Ending("first_message_timeout", CloseCode.TIMEOUT),
    SlowConsumer: Ending("slow_consumer", CloseCode.SLOW_CONSUMER),
}
