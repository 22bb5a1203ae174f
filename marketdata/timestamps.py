"""Convert the time units producers send to int64 nanoseconds since the Unix epoch."""

from __future__ import annotations

from math import inf
from typing import Literal

TimestampUnit = Literal["auto", "s", "ms", "us", "ns"]

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
# The smallest numbers that "auto" takes for seconds, milliseconds, microseconds and nanoseconds: in
# each unit March 1973. Numbers below all of them count as milliseconds.
AUTO_S_FROM = 10**8
AUTO_MS_FROM = 10**11
AUTO_US_FROM = 10**14
AUTO_NS_FROM = 10**17
_FACTORS = {"s": NS_PER_S, "ms": NS_PER_MS, "us": 1_000, "ns": 1}


def to_nanoseconds(timestamp: int, unit: TimestampUnit) -> int:
    """Return ``timestamp`` in nanoseconds.

    ``auto`` goes by magnitude, so that today's time is read right in every unit: seconds from 1973
    to 5138, milliseconds to 5138, microseconds to 5138, nanoseconds from 1973 on.
    """
    if unit == "auto":
        unit = guess_unit(timestamp)
    return timestamp * _FACTORS[unit]


def guess_unit(timestamp: int) -> Literal["s", "ms", "us", "ns"]:
    """Return the unit that ``timestamp`` must be in to lie near the present."""
    if AUTO_S_FROM <= timestamp < AUTO_MS_FROM:
        return "s"
    if timestamp < AUTO_US_FROM:
        return "ms"
    if timestamp < AUTO_NS_FROM:
        return "us"
    return "ns"


def nanoseconds_from(unit: TimestampUnit) -> float:
    """Return the value from which a timestamp in ``unit`` needs no conversion."""
    return {"auto": AUTO_NS_FROM, "ns": 0}.get(unit, inf)


def nanoseconds_in(unit: TimestampUnit) -> int:
    """Return how many nanoseconds ``unit`` has, 0 for ``auto``."""
    return _FACTORS.get(unit, 0)
