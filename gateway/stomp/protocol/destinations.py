"""Parse destinations, and our own headers of a SUBSCRIBE."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.bars.times import HELP, parse_time
from gateway.errors import InvalidInput
from gateway.stomp.protocol.errors import (
    InvalidDestination,
    InvalidOption,
    SendForbidden,
    UnknownDestination,
)
from marketdata.errors import InvalidSymbol
from marketdata.intervals import InvalidInterval, parse_interval
from marketdata.symbols import normalize_symbol

MARKET_DATA = "/topic/market-data/"
BARS = "/topic/bars/"
SIGNALING = "/topic/signaling"
STATUS = "/topic/status"
APP_SIGNAL = "/app/signal"

KNOWN_TOPICS = f"{MARKET_DATA}{{symbol}}, {BARS}{{interval}}/{{symbol}}, {SIGNALING}, {STATUS}"
# Spring's Ant style: * is one part of a path, ** any number of them. A symbol may have a slash
# (EUR/USD), so both mean every symbol.
_ALL_SYMBOLS = frozenset({"*", "**"})

# The longest uint64; the regular expression keeps int() away from thousands of digits.
_MAX_UINT64 = 2**64 - 1
_UINT64 = re.compile(r"[0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class MarketDataTopic:
    """The states of ``symbols``, or of every symbol if that is None."""

    symbols: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class BarsTopic:
    """The bars of ``interval`` of ``symbols``, or of every symbol if that is None."""

    interval: str
    symbols: tuple[str, ...] | None

    @property
    def destination(self) -> str:
        """Where it was subscribed to, in normal form."""
        return bars_destination(self.interval, ",".join(self.symbols or ("*",)))


@dataclass(frozen=True, slots=True)
class SignalingTopic:
    """The signaling messages of all clients."""


@dataclass(frozen=True, slots=True)
class StatusTopic:
    """The status of the feed: stale, live."""


# Each further kind of topic is a class here and a line in parse_topic.
Topic = MarketDataTopic | BarsTopic | SignalingTopic | StatusTopic


class Policy(StrEnum):
    """How messages wait for a slow reader."""

    CONFLATE = "conflate"
    BUFFER = "buffer"


@dataclass(frozen=True, slots=True)
class Resume:
    """Where a client left off: the last sequence of each symbol, all of one epoch.

    A symbol that is not among ``last_sequences`` starts with a snapshot.
    """

    epoch: int
    last_sequences: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class SubscribeOptions:
    """The headers ``policy``, ``last-sequence``, ``epoch`` and ``since``."""

    policy: Policy = Policy.CONFLATE
    resume: Resume | None = field(default=None)
    # Nanoseconds; None: without history.
    since_ns: int | None = None


def market_data_destination(symbol: str) -> str:
    """Return where the states of ``symbol`` are published."""
    return MARKET_DATA + symbol


def bars_destination(interval: str, symbol: str) -> str:
    """Return where the bars of ``interval`` of ``symbol`` are published."""
    return f"{BARS}{interval}/{symbol}"


def parse_topic(destination: str) -> Topic:
    """Return the topic of a SUBSCRIBE to ``destination``.

    Raises:
        InvalidDestination: a symbol in it is not one, or an interval.
        UnknownDestination: it is not one of our topics.
    """
    if destination == SIGNALING:
        return SignalingTopic()
    if destination == STATUS:
        return StatusTopic()
    if destination.startswith(MARKET_DATA):
        return MarketDataTopic(_parse_symbols(destination, MARKET_DATA))
    if destination.startswith(BARS):
        interval, _, _ = destination.removeprefix(BARS).partition("/")
        try:
            parse_interval(interval)
        except InvalidInterval as exc:
            raise InvalidDestination(destination, str(exc)) from exc
        return BarsTopic(interval, _parse_symbols(destination, bars_destination(interval, "")))
    raise UnknownDestination("SUBSCRIBE", destination, KNOWN_TOPICS)


def check_send_destination(destination: str) -> None:
    """Check that a client may SEND to ``destination``.

    Raises:
        SendForbidden: it is a topic, where a client could forge market data.
        UnknownDestination: it is nothing that takes a SEND.
    """
    if destination.startswith("/topic/"):
        raise SendForbidden(destination)
    if destination != APP_SIGNAL:
        raise UnknownDestination("SEND", destination, APP_SIGNAL)


def parse_options(topic: Topic, headers: Mapping[str, str]) -> SubscribeOptions:
    """Return our own headers of a SUBSCRIBE to ``topic``.

    ``last-sequence`` is one number where the topic is one symbol, and ``AAPL:41,MSFT:7`` for any
    topic of symbols: a number alone would not say which symbol it is of.

    Raises:
        InvalidOption: a header has a value that cannot be used, or another one is missing.
    """
    policy = headers.get("policy", Policy.CONFLATE)
    if policy not in tuple(Policy):
        raise InvalidOption("policy", policy, " or ".join(Policy))
    resume = _parse_resume(topic, headers)
    return SubscribeOptions(Policy(policy), resume, _parse_since(topic, headers))


def _parse_symbols(destination: str, prefix: str) -> tuple[str, ...] | None:
    parts = destination.removeprefix(prefix).split(",")
    if not _ALL_SYMBOLS.isdisjoint(parts):
        return None
    try:
        # A dict is a set that keeps the order.
        return tuple({normalize_symbol(part): None for part in parts})
    except InvalidSymbol as exc:
        raise InvalidDestination(destination, str(exc)) from exc


def _parse_since(topic: Topic, headers: Mapping[str, str]) -> int | None:
    since = headers.get("since")
    if since is None:
        return None
    if not isinstance(topic, BarsTopic):
        raise InvalidOption("since", since, f"for {BARS} only")
    if topic.symbols is None:
        raise InvalidOption("since", since, "for symbols by name, not *")
    if "last-sequence" in headers:
        raise InvalidOption("since", since, "without last-sequence")
    try:
        return parse_time("since", since)
    except InvalidInput as exc:
        raise InvalidOption("since", since, HELP) from exc


def _parse_resume(topic: Topic, headers: Mapping[str, str]) -> Resume | None:
    epoch, last_sequence = headers.get("epoch"), headers.get("last-sequence")
    if last_sequence is None:
        if epoch is not None:
            raise InvalidOption("epoch", epoch, "to be sent with last-sequence")
        return None
    if not isinstance(topic, MarketDataTopic | BarsTopic):
        raise InvalidOption("last-sequence", last_sequence, f"for {MARKET_DATA} and {BARS} only")
    if epoch is None:
        raise InvalidOption("last-sequence", last_sequence, "to be sent with epoch")
    return Resume(
        _parse_uint64("epoch", epoch, epoch), _parse_last_sequences(topic.symbols, last_sequence)
    )


def _parse_last_sequences(symbols: tuple[str, ...] | None, value: str) -> dict[str, int]:
    name = "last-sequence"
    if ":" not in value and symbols is not None and len(symbols) == 1:
        return {symbols[0]: _parse_uint64(name, value, value)}
    last_sequences: dict[str, int] = {}
    for pair in value.split(","):
        # A symbol may have a colon, a number cannot.
        symbol, colon, number = pair.rpartition(":")
        if not colon:
            raise InvalidOption(name, value, "symbol:number,... for several symbols")
        try:
            symbol = normalize_symbol(symbol)
        except InvalidSymbol as exc:
            raise InvalidOption(name, value, f"symbol:number,... ({exc})") from exc
        if symbols is not None and symbol not in symbols:
            raise InvalidOption(name, value, f"symbols of the destination, {symbol} is not")
        if symbol in last_sequences:
            raise InvalidOption(name, value, f"each symbol once, {symbol} comes twice")
        last_sequences[symbol] = _parse_uint64(name, number, value)
    return last_sequences


def _parse_uint64(name: str, digits: str, value: str) -> int:
    if _UINT64.fullmatch(digits) and (number := int(digits)) <= _MAX_UINT64:
        return number
    raise InvalidOption(name, value, f"a number up to {_MAX_UINT64}")
