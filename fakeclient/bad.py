"""Make ticks bad in every way that the server must survive."""

from __future__ import annotations

from enum import StrEnum
from fractions import Fraction
from math import inf, nan

from fakeclient.ticks import Row
from marketdata.symbols import MAX_SYMBOL_LENGTH
from marketdata.timestamps import NS_PER_S
from marketdata.wire.market_data_pb2 import Tick

# Far beyond any skew a server would forgive, and still read as nanoseconds.
_FAR_AHEAD_NS = 24 * 3600 * NS_PER_S


class BadKind(StrEnum):
    """The one thing that is wrong with a bad frame."""

    UNPARSABLE = "unparsable"
    NAN_PRICE = "nan_price"
    INFINITE_PRICE = "infinite_price"
    NEGATIVE_PRICE = "negative_price"
    ZERO_VOLUME = "zero_volume"
    EMPTY_SYMBOL = "empty_symbol"
    LONG_SYMBOL = "long_symbol"
    INVALID_UTF8 = "invalid_utf8"
    FUTURE_TIMESTAMP = "future_timestamp"
    ZERO_TIMESTAMP = "zero_timestamp"
    # A frame of length 0: the server closes the connection.
    EMPTY_PAYLOAD = "empty_payload"


class BadMix:
    """Decide which frames are bad: spread evenly, with the kinds in turn.

    Of the first n frames, exactly the whole part of n x ``fraction`` are bad.
    """

    def __init__(self, fraction: float) -> None:
        # Through the shortest decimal, so that 0.1 means a tenth and counts come out exact.
        self._step, self._whole = Fraction(repr(fraction)).as_integer_ratio()
        self._progress = 0
        self._kinds = tuple(BadKind)
        self._made = 0

    def next_kind(self) -> BadKind | None:
        """Return the kind of the next frame, or None for a good one."""
        self._progress += self._step
        if self._progress < self._whole:
            return None
        self._progress -= self._whole
        kind = self._kinds[self._made % len(self._kinds)]
        self._made += 1
        return kind


def spoil(kind: BadKind, row: Row) -> bytes:
    """Return the payload of a good tick with one thing made wrong."""
    symbol, price, volume, ts_ns = row
    tick = Tick(symbol=symbol, price=price, volume=volume, exchange_timestamp=ts_ns)
    match kind:
        case BadKind.UNPARSABLE:
            # Field 1 announces ten bytes, and none follow.
            return b"\x0a\x0a"
        case BadKind.INVALID_UTF8:
            # A later occurrence of a field wins; 0xff is never UTF-8.
            return tick.SerializeToString() + b"\x0a\x02\xff\xfe"
        case BadKind.EMPTY_PAYLOAD:
            return b""
        case BadKind.NAN_PRICE:
            tick.price = nan
        case BadKind.INFINITE_PRICE:
            tick.price = inf
        case BadKind.NEGATIVE_PRICE:
            tick.price = -price
        case BadKind.ZERO_VOLUME:
            tick.volume = 0
        case BadKind.EMPTY_SYMBOL:
            tick.symbol = ""
        case BadKind.LONG_SYMBOL:
            tick.symbol = "X" * (MAX_SYMBOL_LENGTH + 1)
        case BadKind.FUTURE_TIMESTAMP:
            tick.exchange_timestamp = ts_ns + _FAR_AHEAD_NS
        case BadKind.ZERO_TIMESTAMP:
            tick.exchange_timestamp = 0
    return tick.SerializeToString()
