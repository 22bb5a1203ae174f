"""Convert the time units producers send to int64 nanoseconds since the Unix epoch."""

from __future__ import annotations

from math import inf
from typing import Literal

TimestampUnit = Literal["auto", "s", "ms", "us", "ns"]

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
# The smallest numbers that "auto" takes for seconds, milliseconds, microseconds and nanoseconds: in
# each unit March 1973. Numbers below all of them are not times of a trade: a date (20250103) and
# the days that a spreadsheet counts (45660) are such numbers.
AUTO_S_FROM = 10**8
AUTO_MS_FROM = 10**11
AUTO_US_FROM = 10**14
AUTO_NS_FROM = 10**17
_FACTORS = {"s": NS_PER_S, "ms": NS_PER_MS, "us": 1_000, "ns": 1}


class UnitHistory:
    """Notice when the exchange times of one connection or file change their unit.

    :attr:`unit_ns` is the unit of the last time in nanoseconds, 0 before the first one, and
    :attr:`changes` counts the times whose unit was not that of the time before. A setting that
    names the unit leaves nothing to change.
    """

    __slots__ = ("changes", "unit_ns")

    def __init__(self) -> None:
        self.unit_ns = 0
        self.changes = 0

    def note(self, unit_ns: int) -> None:
        """Note the unit of the next time."""
        if unit_ns != self.unit_ns:
            self.changes += self.unit_ns != 0
            self.unit_ns = unit_ns


def to_nanoseconds(timestamp: int, unit: TimestampUnit) -> int:
    """Return ``timestamp`` in nanoseconds; 0 if it is in no unit, see :func:`nanoseconds_in`."""
    return timestamp * nanoseconds_in(timestamp, unit)


def nanoseconds_in(timestamp: int, unit: TimestampUnit) -> int:
    """Return how many nanoseconds the unit of ``timestamp`` has.

    ``auto`` goes by magnitude, so that today's time is read right in every unit: seconds from 1973
    to 5138, milliseconds to 5138, microseconds to 5138, nanoseconds from 1973 on. 0: it is below
    all of them, so it is not a time.
    """
    if unit != "auto":
        return _FACTORS[unit]
    if timestamp >= AUTO_NS_FROM:
        return 1
    if timestamp >= AUTO_US_FROM:
        return 1_000
    if timestamp >= AUTO_MS_FROM:
        return NS_PER_MS
    return NS_PER_S if timestamp >= AUTO_S_FROM else 0


def nanoseconds_from(unit: TimestampUnit) -> float:
    """Return the value from which a timestamp in ``unit`` needs no conversion."""
    return {"auto": AUTO_NS_FROM, "ns": 0}.get(unit, inf)


def fixed_unit(unit: TimestampUnit) -> int:
    """Return how many nanoseconds ``unit`` has, 0 for ``auto``."""
    return _FACTORS.get(unit, 0)
