"""Sessions that are the trading days of an exchange."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from aggregator.sessions.sessions import Phase, Session, from_ns, standard_time, to_ns

_DAY = timedelta(days=1)


class TradingDay(NamedTuple):
    """When the phases of one trading day start, in ns; with no break, its times are ``close``.

    Auctions end at ``auction_end``, and trading after the close at ``post_end``. Both may be later
    than the start of the next trading day.
    """

    pre: int
    open: int
    break_start: int
    break_end: int
    close: int
    auction_end: int
    post_end: int


@dataclass(frozen=True, slots=True)
class UsualHours:
    """The hours of a trading day after the last day that a calendar knows."""

    zone: ZoneInfo
    # As date.weekday() counts.
    weekdays: Collection[int]
    # From local midnight to each time of a TradingDay, by the local clock, so it is right on days
    # when the clocks change.
    offsets: tuple[timedelta, timedelta, timedelta, timedelta, timedelta, timedelta, timedelta]

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

    A trading day begins with its pre-market, or with its open where there is none, and ends where
    the next one begins. After the given days, every usual weekday is a trading day with the usual
    hours: the holidays of a distant year are not known yet, and each tick needs a session.
    """

    def __init__(self, days: Sequence[TradingDay], usual: UsualHours) -> None:
        self._usual = usual
        self._days: list[TradingDay] = []
        known_from = days[0].pre if days else 1
        while (day := usual.first_after(self._close)).close <= known_from:
            self._days.append(day)
        self._days += days
        self._starts = [day.pre for day in self._days]

    @property
    def _close(self) -> int:
        return self._days[-1].close if self._days else 0

    @property
    def usual(self) -> UsualHours:
        """The hours after the given days."""
        return self._usual

    def index(self, ts_ns: int) -> int:
        """Return the number of the trading day that began last before ``ts_ns``, else the first."""
        # The next one is needed too: it ends the day.
        while len(self._starts) < 2 or ts_ns >= self._starts[-1]:
            day = self._usual.first_after(self._close)
            self._days.append(day)
            self._starts.append(day.pre)
        return max(bisect_right(self._starts, ts_ns) - 1, 0)

    def day(self, number: int) -> TradingDay:
        """Return the trading day of :meth:`index`."""
        return self._days[number]

    def date_of(self, number: int) -> date:
        """Return the date of a trading day: the one on which it closes."""
        return from_ns(self._days[number].close - 1).astimezone(self._usual.zone).date()

    def first_from(self, date: date) -> int:
        """Return the number of the first trading day of ``date`` or later."""
        found = self.index(to_ns(datetime.combine(date, time(), self._usual.zone)))
        while found and self.date_of(found - 1) >= date:
            found -= 1
        while self.date_of(found) < date:
            found += 1
            # It and the next one must be known.
            self.index(self._starts[found])
        return found

    def bounds(self, number: int) -> tuple[int, int]:
        """Return the start of that trading day and of the next one; the first starts at 0."""
        return self._starts[number] if number else 0, self._starts[number + 1]


class CalendarDay:
    """Sessions are the trading days of an exchange.

    A trade after the close belongs to the day that closed, until the next one begins: so does the
    closing auction, and a weekend belongs to the Friday.

    Args:
        calendar: the trading days.
        regular: whether a session is only the time from open to close.
        auctions: whether such a session also has the auctions after the close.
        anchored: whether intraday bars begin with the open.
    """

    def __init__(
        self,
        calendar: Calendar,
        *,
        regular: bool = False,
        auctions: bool = True,
        anchored: bool = False,
    ) -> None:
        self._calendar = calendar
        self._regular = regular
        self._auctions = auctions
        usual = calendar.usual
        midnight = datetime.min.replace(year=2000)
        opens = (midnight + usual.offsets[1]).time()
        self._anchor = standard_time(usual.zone, opens) if anchored else 0
        # The trading day of the last call.
        self._from = self._to = 0
        self._day = TradingDay(0, 0, 0, 0, 0, 0, 0)
        self._session = Session(0, 0, 0, 0)

    def _find(self, ts_ns: int) -> None:
        number = self._calendar.index(ts_ns)
        self._day = self._calendar.day(number)
        self._from, self._to = self._calendar.bounds(number)
        self._session = self._session_of(number)

    def _session_of(self, number: int) -> Session:
        day, (start, end) = self._calendar.day(number), self._calendar.bounds(number)
        if self._regular:
            closes = min(day.auction_end if self._auctions else day.close, end)
            return Session(day.open, closes, day.open, closes)
        return Session(start, end, day.pre, min(day.post_end, end))

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
        if not day.pre <= ts_ns < day.post_end:
            return "closed"
        if ts_ns < day.open:
            return "pre"
        if ts_ns >= day.close:
            return "post"
        return "closed" if day.break_start <= ts_ns < day.break_end else "regular"

    def anchor(self, interval_ns: int) -> int:
        """Return when the exchange usually opens, modulo the interval."""
        return self._anchor % interval_ns

    def date_of(self, ts_ns: int) -> date:
        """Return the date of the trading day that began last."""
        return self._calendar.date_of(self._calendar.index(ts_ns))

    def first_day(self, date: date) -> Session:
        """Return the first trading day of ``date`` or later."""
        return self._session_of(self._calendar.first_from(date))

    def last_day(self, date: date) -> Session | None:
        """Return the last trading day before ``date``."""
        number = self._calendar.first_from(date)
        return self._session_of(number - 1) if number else None
