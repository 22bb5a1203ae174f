"""Parse the names of bar intervals."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from marketdata.errors import MarketDataError
from marketdata.timestamps import NS_PER_S

NS_PER_DAY = 86_400 * NS_PER_S
# A size has at most 18 digits, so that it fits an int64.
_NAME = re.compile(r"([1-9][0-9]{0,17})([smhdwMytvn])")
_MAX_DIGITS = 18
_FRACTION = re.compile(r"(0|[1-9][0-9]{0,16})\.([0-9]{0,16}[1-9])([vn])")
_NS = {"s": NS_PER_S, "m": 60 * NS_PER_S, "h": 3600 * NS_PER_S}
# The days that a period has at least, by its unit.
_DAYS = {"d": 1, "w": 7, "M": 28, "y": 365}
# A century, so that the dates of a period are dates of Python.
_MAX_DAYS = 36_525


class IntervalKind(Enum):
    """What ends a bar."""

    # The clock; all starts are multiples of the size.
    TIME = "time"
    # The end of the trading day.
    DAY = "day"
    # The end of some days, weeks, months or years. These bars are made of daily ones.
    DAYS = "d"
    WEEKS = "w"
    MONTHS = "M"
    YEARS = "y"
    # A number of trades, of shares, or of money.
    TICK = "t"
    VOLUME = "v"
    NOTIONAL = "n"


class InvalidInterval(MarketDataError):
    """A name is not an interval, or not one that is offered."""

    def __init__(self, name: str, valid: str) -> None:
        super().__init__(f"interval {name[:40]!r} is not one of {valid}")
        self.name = name
        self.valid = valid


_LONG = frozenset({IntervalKind.DAYS, IntervalKind.WEEKS, IntervalKind.MONTHS, IntervalKind.YEARS})


@dataclass(frozen=True, slots=True)
class Interval:
    """The name, the kind and the size of a bar."""

    name: str
    kind: IntervalKind
    # ns, trades, shares or money; the number of days, weeks, months or years; 1 for the day. Of
    # shares and money in units of 10^-decimals.
    size: int
    decimals: int = 0

    @property
    def by_clock(self) -> bool:
        """Whether time alone says where a bar ends."""
        return self.kind in {IntervalKind.TIME, IntervalKind.DAY} or self.is_long

    @property
    def is_long(self) -> bool:
        """Whether the bars are made of daily bars when they are read."""
        return self.kind in _LONG

    @property
    def nominal_ns(self) -> int:
        """How long a bar by the clock usually is; days may be longer, months are never shorter."""
        if self.kind is IntervalKind.DAY:
            return NS_PER_DAY
        return self.size * _DAYS[self.kind.value] * NS_PER_DAY if self.is_long else self.size


def parse_interval(name: str) -> Interval:
    """Return what ``name`` means: ``5m`` five minutes, ``1d`` a day, ``100t`` a hundred trades.

    Volumes and notionals may have a fraction: ``0.5v``. Seconds, minutes and hours must divide a
    day, so that every day begins with a bar. ``1M`` is a month, ``1m`` a minute.

    Raises:
        InvalidInterval: the name is not an interval.
    """
    found = _NAME.fullmatch(name)
    if found is not None:
        number, unit = int(found[1]), found[2]
        if unit in _NS:
            size = number * _NS[unit]
            if size < NS_PER_DAY and NS_PER_DAY % size == 0:
                return Interval(name, IntervalKind.TIME, size)
        elif name == "1d":
            return Interval(name, IntervalKind.DAY, 1)
        elif number * _DAYS.get(unit, 0) <= _MAX_DAYS:
            return Interval(name, IntervalKind(unit), number)
    fraction = _FRACTION.fullmatch(name)
    if fraction is not None and len(fraction[1] + fraction[2]) <= _MAX_DIGITS:
        size = int(fraction[1] + fraction[2])
        return Interval(name, IntervalKind(fraction[3]), size, len(fraction[2]))
    raise InvalidInterval(
        name,
        "1s 1m 5m 15m 1h 1d, or another part of a day, or 3d 1w 1M 3M 1y, "
        "or 100t 10000v 0.5v 1000000n",
    )


def not_live(name: str, intervals: Iterable[str]) -> InvalidInterval:
    """Return the error for live bars of ``name`` where there are only those of ``intervals``."""
    names = list(intervals)
    valid = " ".join(names) or "none: bars are off"
    with contextlib.suppress(InvalidInterval):
        if "1d" in names and parse_interval(name).is_long:
            valid = f"those with live bars, {valid}; it is made of 1d bars when it is read"
    return InvalidInterval(name, valid)
