"""The settings of bars: which intervals, and when bars close."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import gcd

from marketdata.errors import MarketDataError
from marketdata.intervals import Interval, IntervalKind, not_live, parse_interval
from marketdata.timestamps import NS_PER_S


class InvalidPlan(MarketDataError):
    """The settings of bars contradict each other or themselves."""


@dataclass(frozen=True, slots=True)
class BarPlan:
    """The settings of bars, in nanoseconds.

    ``intervals`` are in the order of the settings; the revise window is at least a second.
    """

    intervals: tuple[Interval, ...] = ()
    grace_ns: int = 2 * NS_PER_S
    revise_ns: int = 900 * NS_PER_S
    live_within_ns: int = 60 * NS_PER_S
    max_closed: int = 500_000

    @property
    def by_clock(self) -> list[Interval]:
        """The intervals that end with time, shortest first."""
        found = [interval for interval in self.intervals if interval.by_clock]
        return sorted(found, key=lambda interval: interval.nominal_ns)

    @property
    def by_trades(self) -> list[Interval]:
        """The intervals that end after a number of trades, a volume or an amount of money."""
        return [interval for interval in self.intervals if not interval.by_clock]

    @property
    def base_ns(self) -> int:
        """The length of a base piece, in which trades are summed up first; 0: no bars.

        Every intraday bar consists of whole base pieces. When a piece ends, its trades are not yet
        too late for bars.
        """
        if not self.by_clock:
            return 0
        base = gcd(*(i.size for i in self.by_clock if i.kind is IntervalKind.TIME))
        return base if 0 < base <= self.revise_ns else NS_PER_S

    def interval(self, name: str) -> Interval:
        """Return the interval of that name.

        Raises:
            InvalidInterval: there are no such bars.
        """
        for interval in self.intervals:
            if interval.name == name:
                return interval
        raise not_live(name, (interval.name for interval in self.intervals))


def parse_intervals(names: str) -> tuple[Interval, ...]:
    """Return the intervals of a comma separated list.

    Raises:
        InvalidInterval: a name is not valid.
        InvalidPlan: an interval is there twice, by name or by length, or it is a long one.
    """
    intervals = tuple(parse_interval(name.strip()) for name in names.split(",") if name.strip())
    for interval in intervals:
        if interval.is_long:
            raise InvalidPlan(f"{interval.name} needs no entry: it is made of 1d bars when read")
    _check_distinct(intervals)
    return intervals


def _check_distinct(intervals: Iterable[Interval]) -> None:
    seen: dict[tuple[IntervalKind, int], str] = {}
    for interval in intervals:
        kind = (interval.kind, interval.size)
        if kind in seen:
            raise InvalidPlan(f"{seen[kind]} and {interval.name} are the same bars")
        seen[kind] = interval.name
