"""Say which session a tick belongs to, and what part of the trading day a time is in."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple, Protocol
from zoneinfo import ZoneInfo

from marketdata.timestamps import NS_PER_S

NS_PER_DAY = 86_400 * NS_PER_S
END_OF_TIME = 2**63

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)

Phase = Literal["pre", "regular", "post", "closed", ""]


class Session(NamedTuple):
    """One session: start <= exchange time < end."""

    start: int
    end: int
    # When there is trading in it, which may be less: a trading day starts when the one before it
    # has ended. By these hours its coverage is judged.
    opens: int
    closes: int


class SessionRule(Protocol):
    """How time is divided for a symbol. Exchange times are within 1..2^63-1."""

    def session(self, ts_ns: int) -> Session | None:
        """Return the session of the Aggregate, None between two sessions."""

    def day(self, ts_ns: int) -> Session | None:
        """Return the bounds of the daily bar, None between two days."""

    def phase(self, ts_ns: int) -> Phase:
        """Return the part of the trading day, "" where there is no calendar."""

    def anchor(self, interval_ns: int) -> int:
        """Return the offset of intraday bars: each start is a multiple of the interval later."""


# From a normalized symbol to its rule; two calls with one symbol return the same object.
RuleFor = Callable[[str], SessionRule]


class UtcDay:
    """Sessions are days of UTC."""

    def session(self, ts_ns: int) -> Session:
        """Return the UTC day of ``ts_ns``."""
        return self.day(ts_ns)

    def day(self, ts_ns: int) -> Session:
        """Return the UTC day of ``ts_ns``."""
        start = ts_ns - ts_ns % NS_PER_DAY
        return Session(start, start + NS_PER_DAY, start, start + NS_PER_DAY)

    def phase(self, _ts_ns: int) -> Phase:
        """Return "": every time is alike."""
        return ""

    def anchor(self, _interval_ns: int) -> int:
        """Return 0."""
        return 0


class NoSession(UtcDay):
    """One session holds all of time; daily bars are days of UTC."""

    def session(self, _ts_ns: int) -> Session:
        """Return all of time."""
        return Session(0, END_OF_TIME, 0, END_OF_TIME)


class ZoneDay:
    """Sessions are days of a time zone, of 23 or 25 hours where its clocks change."""

    def __init__(self, zone: ZoneInfo, *, anchored: bool = False) -> None:
        self._zone = zone
        self._anchor = standard_time(zone, time()) if anchored else 0
        self._last = Session(0, 0, 0, 0)

    def session(self, ts_ns: int) -> Session:
        """Return the day of ``ts_ns`` in the zone."""
        last = self._last
        if last.start <= ts_ns < last.end:
            return last
        day = _from_ns(ts_ns).astimezone(self._zone).date()
        # Before 1970 by local clocks there may be time since 1970 by UTC, not the other way round.
        start, end = (_to_ns(datetime.combine(d, time(), self._zone)) for d in (day, day + _DAY))
        self._last = Session(start, end, start, end)
        return self._last

    def day(self, ts_ns: int) -> Session:
        """Return the day of ``ts_ns`` in the zone."""
        return self.session(ts_ns)

    def phase(self, _ts_ns: int) -> Phase:
        """Return "": every time is alike."""
        return ""

    def anchor(self, interval_ns: int) -> int:
        """Return when the day starts, modulo the interval."""
        return self._anchor % interval_ns


class TradingDay(NamedTuple):
    """When one trading day's phases start, in ns; without a break both its times are the close."""

    pre: int
    open: int
    break_start: int
    break_end: int
    close: int
    post_end: int


@dataclass(frozen=True, slots=True)
class UsualHours:
    """What a trading day is like beyond the days that a calendar knows."""

    zone: ZoneInfo
    # As date.weekday() counts.
    weekdays: Collection[int]
    # From local midnight to each time of a TradingDay. Such an offset is on the local clock, so
    # that it is right on days when the clocks change.
    offsets: tuple[timedelta, timedelta, timedelta, timedelta, timedelta, timedelta]

    def __post_init__(self) -> None:
        if not self.weekdays:
            raise ValueError("a week without a trading day")

    def first_after(self, ts_ns: int) -> TradingDay:
        """Return the first trading day whose pre-market starts at ``ts_ns`` or later."""
        # A session may open on the evening before its day, so start early.
        day = _from_ns(ts_ns).astimezone(self.zone).date() - _DAY
        while True:
            if day.weekday() in self.weekdays:
                midnight = datetime.combine(day, time())
                clocks = ((midnight + offset).replace(tzinfo=self.zone) for offset in self.offsets)
                found = TradingDay(*map(_to_ns, clocks))
                if found.pre >= ts_ns:
                    return found
            day += _DAY


class Calendar:
    """The trading days of one exchange.

    Beyond the days given, every usual weekday is a trading day with the usual hours: nobody knows
    the holidays of a far year, and a tick must have its place all the same.
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
        """What holds beyond the days given."""
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

    A trading day has all that comes after the end of the one before it, so a weekend is the
    Monday's. If ``regular``, a session is only what lies between open and close.
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
        # The trading day of the last question, with all that leads up to it.
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


class SessionRules:
    """The rule of every symbol: that of the first pattern that matches, or the default."""

    def __init__(
        self, default: SessionRule, patterns: Sequence[tuple[str, SessionRule]] = ()
    ) -> None:
        self._default = default
        self._patterns = patterns

    def rule_for(self, symbol: str) -> SessionRule:
        """Return the rule of a normalized symbol."""
        for pattern, rule in self._patterns:
            if fnmatchcase(symbol, pattern):
                return rule
        return self._default


def standard_time(zone: ZoneInfo, clock: time) -> int:
    """Return when ``clock`` is in ``zone`` outside summer time, in ns since midnight UTC.

    Bars are uniform in UTC, so one offset must do for the whole year.
    """
    winter = datetime.combine(datetime(2024, 1, 15, tzinfo=UTC), clock, zone)
    if winter.dst():
        winter = winter.replace(month=7)
    return _to_ns(winter) % NS_PER_DAY


def _from_ns(ts_ns: int) -> datetime:
    return _EPOCH + timedelta(seconds=ts_ns // NS_PER_S)


def _to_ns(moment: datetime) -> int:
    return (moment - _EPOCH) // _SECOND * NS_PER_S
