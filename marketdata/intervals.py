"""Parse the names of bar intervals."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from marketdata.errors import MarketDataError
from marketdata.timestamps import NS_PER_S

NS_PER_DAY = 86_400 * NS_PER_S
# A size has at most 18 digits, so that it fits an int64.
_NAME = re.compile(r"([1-9][0-9]{0,17})([smhdtvn])")
_NS = {"s": NS_PER_S, "m": 60 * NS_PER_S, "h": 3600 * NS_PER_S}


class IntervalKind(Enum):
    """What ends a bar."""

    # The clock; all starts are multiples of the size.
    TIME = "time"
    # The end of the trading day.
    DAY = "day"
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


@dataclass(frozen=True, slots=True)
class Interval:
    """The name, the kind and the size of a bar."""

    name: str
    kind: IntervalKind
    # ns, trades, shares or money; 1 for the day. Of shares and money in units of 10^-decimals.
    size: int
    decimals: int = 0

    @property
    def by_clock(self) -> bool:
        """Whether time alone says where a bar ends."""
        return self.kind in {IntervalKind.TIME, IntervalKind.DAY}

    @property
    def nominal_ns(self) -> int:
        """How long a bar by the clock usually is; a trading day may be longer or shorter."""
        return NS_PER_DAY if self.kind is IntervalKind.DAY else self.size


def parse_interval(name: str) -> Interval:
    """Return what ``name`` means: ``5m`` five minutes, ``1d`` a day, ``100t`` a hundred trades.

    Seconds, minutes and hours must divide a day, so that every day begins with a bar.

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
        elif unit != "d":
            return Interval(name, IntervalKind(unit), number)
        elif number == 1:
            return Interval(name, IntervalKind.DAY, 1)
    raise InvalidInterval(
        name, "1s 1m 5m 15m 1h 1d, or another part of a day, or 100t 10000v 1000000n"
    )
