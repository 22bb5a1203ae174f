"""Sessions that are the trading days of an exchange."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from aggregator.sessions.sessions import Phase, Session, from_ns, standard_time, to_ns

_DAY = timedelta(days=1)


class TradingDay(NamedTuple):
    """When the phases of one trading day start, in ns; with no break, its times are ``close``."""

    pre: int
    open: int
    break_start: int
    break_end: int
    close: int
    post_end: int


@dataclass(frozen=True, slots=True)
class UsualHours:
    """The hours of a trading day after the last day that a calendar knows."""

    zone: ZoneInfo
    # As date.weekday() counts.
    weekdays: Collection[int]
    # From local midnight to each time of a TradingDay, by the local clock, so it is right on days
    # when the clocks change.
    offsets: tuple[timedelta, timedelta, timedelta, timedelta, timedelta, timedelta]

    def __post_init__(self) -> None:
        if not self.weekdays:
            raise ValueError("a week without a trading day")

    def first_after(self, ts_ns: int) -> TradingDay:
        """Return the first trading day whose pre-market starts at ``ts_ns`` or later."""
        # A session may open on the evening before its day, so start early.
        day = from_ns(ts_ns).astimezone(self.zone).date() - _DAY
        while True:
            if day.weekday() in self.weekdays:
                midnight = datetime.combine(day, time())
                clocks = ((midnight + offset).replace(tzinfo=self.zone) for offset in self.offsets)
                found = TradingDay(*map(to_ns, clocks))
                if found.pre >= ts_ns:
                    return found
            day += _DAY


class Calendar:
    """The trading days of one exchange.

    After the given days, every usual weekday is a trading day with the usual hours: the holidays of
    a distant year are not known yet, and each tick needs a session.
    """

    def __init__(self, days: Sequence[TradingDay], usual: UsualHours) -> None:
        self._usual = usual
        self._days: list[TradingDay] = []
        known_from = days[0].pre if days else 1
        while (day := usual.first_after(self._end)).post_end <= known_from:
            self._days.append(day)
        self._days += days
        self._ends = [day.post_end for day in self._days]

    @property
    def _end(self) -> int:
        return self._days[-1].post_end if self._days else 0

    @property
    def usual(self) -> UsualHours:
        """The hours after the given days."""
        return self._usual

    def index(self, ts_ns: int) -> int:
        """Return the number of the trading day that ends next after ``ts_ns``."""
        while ts_ns >= self._end:
            day = self._usual.first_after(self._end)
            self._days.append(day)
            self._ends.append(day.post_end)
        return bisect_right(self._ends, ts_ns)

    def day(self, number: int) -> TradingDay:
        """Return the trading day of :meth:`index`."""
        return self._days[number]

    def end_before(self, number: int) -> int:
        """Return when the trading day before that one ended."""
        return self._ends[number - 1] if number else 0


class CalendarDay:
    """Sessions are the trading days of an exchange.

    A trading day begins at the end of the one before it, so a weekend belongs to the Monday. If
    ``regular``, a session is only the time between open and close.
    """

    def __init__(
        self, calendar: Calendar, *, regular: bool = False, anchored: bool = False
    ) -> None:
        self._calendar = calendar
        self._regular = regular
        usual = calendar.usual
        midnight = datetime.min.replace(year=2000)
        opens = (midnight + usual.offsets[1]).time()
        self._anchor = standard_time(usual.zone, opens) if anchored else 0
        # The trading day of the last call, with the time before its pre-market.
        self._from = self._to = 0
        self._day = TradingDay(0, 0, 0, 0, 0, 0)
        self._session = Session(0, 0, 0, 0)

    def _find(self, ts_ns: int) -> None:
        number = self._calendar.index(ts_ns)
        day = self._day = self._calendar.day(number)
        self._from, self._to = self._calendar.end_before(number), day.post_end
        if self._regular:
            self._session = Session(day.open, day.close, day.open, day.close)
        else:
            self._session = Session(self._from, self._to, day.pre, day.post_end)

    def session(self, ts_ns: int) -> Session | None:
        """Return the trading day that ``ts_ns`` counts for."""
        if not self._from <= ts_ns < self._to:
            self._find(ts_ns)
        session = self._session
        return session if session.start <= ts_ns < session.end else None

    def day(self, ts_ns: int) -> Session | None:
        """Return the trading day that ``ts_ns`` counts for."""
        return self.session(ts_ns)

    def phase(self, ts_ns: int) -> Phase:
        """Return the part of the trading day; a lunch break is "closed"."""
        if not self._from <= ts_ns < self._to:
            self._find(ts_ns)
        day = self._day
        if ts_ns < day.pre:
            return "closed"
        if ts_ns < day.open:
            return "pre"
        if ts_ns >= day.close:
            return "post"
        return "closed" if day.break_start <= ts_ns < day.break_end else "regular"

    def anchor(self, interval_ns: int) -> int:
        """Return when the exchange usually opens, modulo the interval."""
        return self._anchor % interval_ns
