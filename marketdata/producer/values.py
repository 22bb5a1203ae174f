"""Check the values of a tick: whatever the wire can carry is sent, and the server judges it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from operator import index
from typing import Any, SupportsIndex

import numpy as np

from marketdata.decimals import scaled
from marketdata.producer.errors import InvalidTick
from marketdata.validation import ALL_EXCLUDES, MAX_TRADE_ID, MAX_VOLUME_DECIMALS

# A valid symbol has 64 characters. A longer one gets to the server, which rejects it with a reason.
MAX_SYMBOL_BYTES = 1_000

# An exchange time: a number in the unit of the producer, or a datetime with a time zone.
Timestamp = SupportsIndex | datetime | np.datetime64

# A size: whole units, a number with decimals, or (volume, decimals) for volume x 10^-decimals.
Volume = SupportsIndex | Decimal | tuple[int, int]

# A number or text is sent as its characters.
TradeId = bytes | str | int

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


def volume_number(volume: Any) -> tuple[int, int]:
    """Return a size as a whole number that fits an int64, and its decimals.

    Raises:
        InvalidTick: it is not a size, or has too many digits.
    """
    if isinstance(volume, tuple):
        if len(volume) != 2:
            raise InvalidTick("volume", f"{volume!r:.40} is not (volume, decimals)")
        return whole("volume", volume[0]), decimals_number(volume[1])
    if not isinstance(volume, Decimal):
        return whole("volume", volume), 0
    try:
        number, decimals = scaled(volume)
    except ValueError as exc:
        raise InvalidTick("volume", str(exc)) from exc
    if decimals > MAX_VOLUME_DECIMALS:
        problem = f"{volume!s:.40} has {decimals} decimals, limit is {MAX_VOLUME_DECIMALS}"
        raise InvalidTick("volume", problem)
    return whole("volume", number), decimals


def decimals_number(value: Any) -> int:
    """Return the decimals of a volume.

    Raises:
        InvalidTick: they are not 0 to 18.
    """
    return _within("volume_decimals", value, MAX_VOLUME_DECIMALS)


def excludes_number(value: Any) -> int:
    """Return the bits of ``Exclude``.

    Raises:
        InvalidTick: there are others.
    """
    return _within("excludes", value, ALL_EXCLUDES)


def _within(name: str, value: Any, limit: int) -> int:
    number = whole(name, value)
    if not 0 <= number <= limit:
        raise InvalidTick(name, f"{number} is not between 0 and {limit}")
    return number


def trade_id_bytes(value: Any) -> bytes:
    """Return the id of a trade as it is sent.

    Raises:
        InvalidTick: it is not an id, or too long.
    """
    data: bytes
    if type(value) is bytes:
        data = value
    elif isinstance(value, str):
        try:
            data = value.encode()
        except UnicodeEncodeError as exc:
            raise InvalidTick("trade_id", f"{value!r:.40} is not valid Unicode") from exc
    elif isinstance(value, bytes | bytearray | memoryview):
        data = bytes(value)
    else:
        try:
            data = b"%d" % whole("trade_id", value)
        except InvalidTick as exc:
            problem = f"must be bytes, a string or a whole number, is {value!r:.40}"
            raise InvalidTick("trade_id", problem) from exc
    if len(data) > MAX_TRADE_ID:
        raise InvalidTick("trade_id", f"has {len(data)} bytes, limit is {MAX_TRADE_ID}")
    return data
