"""Divide the daily bars of a symbol into weeks, months, years, or any number of days."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import NamedTuple

from aggregator.sessions.sessions import Session, SessionRule
from marketdata.intervals import Interval, IntervalKind

_DAY = timedelta(days=1)
_EPOCH_YEAR = 1970
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class Dates(NamedTuple):
    """The dates of a period: first <= date < next."""

    first: date
    next: date


@dataclass(frozen=True, slots=True)
class PeriodPlan:
    """Where periods begin.

    Several months or years are counted from January 1970, so that quarters are those of the year.
    """

    # As date.weekday() counts.
    week_start: int = 0
    # Days are counted from this date, and weeks from the one that it is in.
    anchor: date = date(_EPOCH_YEAR, 1, 1)

    def dates(self, interval: Interval, day: date) -> Dates:
        """Return the dates of the period that ``day`` is in."""
        size = interval.size
        if interval.kind in {IntervalKind.MONTHS, IntervalKind.YEARS}:
            months = size if interval.kind is IntervalKind.MONTHS else 12 * size
            number = (day.year - _EPOCH_YEAR) * 12 + day.month - 1
            number -= number % months
            return Dates(_month(number), _month(number + months))
        anchor = self.anchor
        if interval.kind is IntervalKind.WEEKS:
            size *= 7
            anchor -= timedelta(days=(anchor.weekday() - self.week_start) % 7)
        first = day - timedelta(days=(day - anchor).days % size)
        return Dates(first, first + timedelta(days=size))


def _month(number: int) -> date:
    years, month = divmod(number, 12)
    return date(_EPOCH_YEAR + years, month + 1, 1)


class Periods:
    """The periods of one long interval for a session rule.

    A period has the daily bars whose dates are in it. It begins with the first and ends with the
    last of them; a period without a trading day has no bar.
    """

    def __init__(self, plan: PeriodPlan, interval: Interval, rule: SessionRule) -> None:
        self._plan = plan
        self._interval = interval
        self._rule = rule

    def dates(self, ts_ns: int) -> Dates:
        """Return the dates of the period that has the daily bar of ``ts_ns``."""
        return self._plan.dates(self._interval, self._rule.date_of(ts_ns))

    def bounds(self, dates: Dates) -> tuple[int, int] | None:
        """Return start and end of a period, None without a trading day."""
        first, last = self._rule.first_day(dates.first), self._rule.last_day(dates.next)
        if last is None or last.start < first.start:
            return None
        # No trade is older than 1970.
        return max(first.start, 0), last.end

    def start_after(self, dates: Dates) -> int:
        """Return when the first trading day after a period begins."""
        return self._rule.first_day(dates.next).start

    def after(self, dates: Dates) -> Iterator[Dates]:
        """Give the periods after one, without end."""
        while True:
            dates = self._plan.dates(self._interval, dates.next)
            yield dates

    def before(self, dates: Dates) -> Iterator[Dates]:
        """Give the periods before one, without end."""
        while True:
            dates = self._plan.dates(self._interval, dates.first - _DAY)
            yield dates

    def days(self, start_ns: int, end_ns: int) -> Iterator[Session]:
        """Give the trading days that begin at start <= time < end."""
        day = self._rule.first_day(self._rule.date_of(start_ns))
        while day.start < end_ns:
            if day.start >= start_ns:
                yield day
            day = self._rule.first_day(self._rule.date_of(day.start) + _DAY)
