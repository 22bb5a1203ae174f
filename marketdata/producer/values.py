"""Check the values of a tick: whatever the wire can carry is sent, and the server judges it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from operator import index
from typing import Any, SupportsIndex

import numpy as np

from marketdata.producer.errors import InvalidTick

# A valid symbol has 64 characters. A longer one gets to the server, which rejects it with a reason.
MAX_SYMBOL_BYTES = 1_000

# An exchange time: a number in the unit of the producer, or a datetime with a time zone.
Timestamp = SupportsIndex | datetime | np.datetime64

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1


def check_symbol(symbol: object) -> None:
    """Check that a symbol can be sent; whether it is valid is for the server to say.

    Raises:
        InvalidTick: it is not text, or too long.
    """
    if not isinstance(symbol, str):
        raise InvalidTick("symbol", f"must be a string, is {symbol!r:.40}")
    try:
        size = len(symbol.encode())
    except UnicodeEncodeError as exc:
        raise InvalidTick("symbol", f"{symbol!r:.40} is not valid Unicode") from exc
    if size > MAX_SYMBOL_BYTES:
        raise InvalidTick("symbol", f"has {size} bytes, limit is {MAX_SYMBOL_BYTES}")


def time_number(timestamp: object, unit_ns: int) -> int:
    """Return an exchange time as it is sent; ``unit_ns`` is the unit of a number.

    Raises:
        InvalidTick: it is not a time.
    """
    if isinstance(timestamp, datetime):
        if timestamp.tzinfo is None:
            raise InvalidTick("timestamp", f"{timestamp} has no time zone")
        # Whole numbers: a float has no room for nanoseconds. pandas adds those below a microsecond.
        nanosecond: int = getattr(timestamp, "nanosecond", 0)
        return (timestamp - _EPOCH) // _MICROSECOND * 1_000 + nanosecond
    if isinstance(timestamp, np.datetime64):
        if np.isnat(timestamp):
            raise InvalidTick("timestamp", "is NaT")
        nanoseconds = timestamp.astype("datetime64[ns]")
        if nanoseconds.astype(timestamp.dtype) != timestamp:
            raise InvalidTick("timestamp", f"{timestamp} does not fit nanoseconds in an int64")
        return int(nanoseconds.astype(np.int64))
    number = whole("timestamp", timestamp) * unit_ns
    if number > _INT64_MAX:
        problem = f"{timestamp!r:.40} does not fit nanoseconds in an int64"
        raise InvalidTick("timestamp", problem)
    return number


def real(name: str, value: Any) -> float:
    """Return a number.

    Raises:
        InvalidTick: it is not one.
    """
    try:
        if not isinstance(value, str):
            return float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise InvalidTick(name, f"must be a number, is {value!r:.40}")


def whole(name: str, value: Any) -> int:
    """Return a whole number that fits an int64.

    Raises:
        InvalidTick: it is not one.
    """
    try:
        number = index(value)
    except TypeError as exc:
        raise InvalidTick(name, f"must be a whole number, is {value!r:.40}") from exc
    if isinstance(value, bool):
        raise InvalidTick(name, f"must be a whole number, is {value!r}")
    if not _INT64_MIN <= number <= _INT64_MAX:
        problem = f"{value!r:.40} is not between {_INT64_MIN} and {_INT64_MAX}"
        raise InvalidTick(name, problem)
    return number
