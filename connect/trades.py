"""Read the fields of a trade exactly.

Prices, sizes and times come as text wherever a source has text, so that no digit passes through a
float. Only the price becomes a double in the end, as it is on the wire.
"""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from math import isfinite
from typing import NamedTuple

from connect.errors import BadTrade
from marketdata.decimals import scaled
from marketdata.timestamps import TimestampUnit, nanoseconds_in

MAX_DECIMALS = 18
MAX_ID_BYTES = 64
_MAX_INT64 = 2**63 - 1
# More digits are no trade. It bounds the work for one number, and each is exact.
_MAX_NUMBER_LENGTH = 60
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_ISO_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,18}))?\s?(Z|[+-]\d\d:?\d\d)", re.ASCII
)


class Trade(NamedTuple):
    """One trade, as it is sent."""

    symbol: str
    price: float
    # Counts 10^-decimals.
    volume: int
    decimals: int
    ts_ns: int
    trade_id: bytes = b""


def read_number(field: str, value: object) -> Decimal:
    """Return a number of a source exactly.

    Args:
        field: its name, for the error.
        value: text, a whole number, or a Decimal. A float is read by its shortest text.

    Raises:
        BadTrade: it is not a finite number.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise BadTrade(field, f"{value!r:.40} is not a number")
    text = str(value).strip()
    if len(text) > _MAX_NUMBER_LENGTH or not _NUMBER.fullmatch(text):
        raise BadTrade(field, f"{text[:40]!r} is not a number")
    return Decimal(text)


def read_price(value: object) -> float:
    """Return the double that is nearest to a price.

    Raises:
        BadTrade: it is not a number, or beyond every double.
    """
    price = float(read_number("price", value))
    if not isfinite(price):
        raise BadTrade("price", f"{value!r:.40} is too large")
    return price


def read_size(value: object) -> tuple[int, int]:
    """Return a size as a whole number and its decimals; trailing zeros do not count.

    Raises:
        BadTrade: it is not a number, or needs more than 18 decimals or more than 63 bits.
    """
    volume, decimals = scaled(read_number("size", value))
    if decimals > MAX_DECIMALS:
        raise BadTrade("size", f"{value!s:.40} has {decimals} decimals, limit is {MAX_DECIMALS}")
    if abs(volume) > _MAX_INT64:
        raise BadTrade("size", f"{value!s:.40} does not fit 63 bits")
    return volume, decimals


def read_time(value: object, unit: TimestampUnit = "auto") -> int:
    """Return a time in nanoseconds: a number in ``unit``, or text in ISO 8601 with a zone.

    Digits after the nanosecond are cut off. With ``auto``, the size of a number shows its unit.

    Raises:
        BadTrade: it is not a time.
    """
    if isinstance(value, str) and (found := _ISO_TIME.fullmatch(value.strip())):
        day, clock, fraction, zone = found.groups()
        try:
            at = datetime.fromisoformat(f"{day}T{clock}{zone.replace('Z', '+00:00')}")
        except ValueError as exc:
            raise BadTrade("time", f"{value!r:.40} does not exist") from exc
        return int(at.timestamp()) * 10**9 + int(f"{fraction or '':0<9}"[:9])
    number = read_number("time", value)
    unit_ns = nanoseconds_in(int(number), unit)
    ts_ns = int(number * unit_ns)
    if not 0 < ts_ns <= _MAX_INT64:
        raise BadTrade("time", f"{value!r:.40} is not a time in {unit}")
    return ts_ns


def make_id(text: str) -> bytes:
    """Return the identity of a trade in at most 64 bytes; a longer text is hashed."""
    # JSON may have halves of characters.
    raw = text.encode("utf-8", "backslashreplace")
    return raw if len(raw) <= MAX_ID_BYTES else blake2b(raw, digest_size=16).hexdigest().encode()
