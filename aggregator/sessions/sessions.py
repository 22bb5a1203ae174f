"""The rules that divide time into sessions, for symbols without a trading calendar."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, NamedTuple, Protocol
from zoneinfo import ZoneInfo

from marketdata.timestamps import NS_PER_S

NS_PER_DAY = 86_400 * NS_PER_S
END_OF_TIME = 2**63

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_MIDNIGHT = time()
_NOON = time(12)

Phase = Literal["pre", "regular", "post", "closed", ""]


class Session(NamedTuple):
    """One session: start <= exchange time < end."""

    start: int
    end: int
    # When there is trading in it. A trading day ends when the next one begins, so this may be less.
    # These hours decide how much of it is covered.
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

    def date_of(self, ts_ns: int) -> date:
        """Return the date of the daily bar that began last; of the first one before it."""

    def first_day(self, date: date) -> Session:
        """Return the bounds of the first daily bar of ``date`` or later."""

    def last_day(self, date: date) -> Session | None:
        """Return the bounds of the last daily bar before ``date``, None before the first."""


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
        """Return "": there is no calendar."""
        return ""

    def anchor(self, _interval_ns: int) -> int:
        """Return 0: intraday bars start at whole multiples of their interval in UTC."""
        return 0

    def date_of(self, ts_ns: int) -> date:
        """Return the date of ``ts_ns`` in UTC."""
        return from_ns(ts_ns).date()

    def first_day(self, date: date) -> Session:
        """Return the day of ``date``."""
        start = to_ns(datetime.combine(date, time(), UTC))
        return Session(start, start + NS_PER_DAY, start, start + NS_PER_DAY)

    def last_day(self, date: date) -> Session:
        """Return the day before ``date``."""
        return self.first_day(date - _DAY)


class NoSession(UtcDay):
    """One session holds all of time; daily bars are days of UTC."""

    def session(self, _ts_ns: int) -> Session:
        """Return all of time."""
        return Session(0, END_OF_TIME, 0, END_OF_TIME)


class ZoneDay:
    """Sessions are days of a time zone, of 23 or 25 hours where its clocks change.

    Args:
        zone: the time zone.
        clock: when its days begin. A day that begins at noon or later has the date of the next day,
            to which most of its hours belong.
        anchored: whether intraday bars begin with the day.
    """

    def __init__(self, zone: ZoneInfo, clock: time = _MIDNIGHT, *, anchored: bool = False) -> None:
        self._zone = zone
        self._clock = clock
        # From the date on which a day begins to its own.
        self._shift = _DAY if clock >= _NOON else timedelta()
        self._anchor = standard_time(zone, clock) if anchored else 0
        self._last = Session(0, 0, 0, 0)
        self._last_date = _EPOCH.date()

    def session(self, ts_ns: int) -> Session:
        """Return the day of ``ts_ns``."""
        if not self._last.start <= ts_ns < self._last.end:
            self._find(ts_ns)
        return self._last

    def _find(self, ts_ns: int) -> None:
        found = from_ns(ts_ns).astimezone(self._zone).date() + self._shift
        # The clock of the zone may not have reached the beginning, or may show a time twice.
        while ts_ns < self._start(found):
            found -= _DAY
        while ts_ns >= self._start(found + _DAY):
            found += _DAY
        self._last_date = found
        self._last = self.first_day(found)

    def _start(self, date: date) -> int:
        # A time that the clock skips is the moment at which it does.
        return to_ns(datetime.combine(date - self._shift, self._clock, self._zone))

    def day(self, ts_ns: int) -> Session:
        """Return the day of ``ts_ns``."""
        return self.session(ts_ns)

    def phase(self, _ts_ns: int) -> Phase:
        """Return "": there is no calendar."""
        return ""

    def anchor(self, interval_ns: int) -> int:
        """Return when the day starts, modulo the interval."""
        return self._anchor % interval_ns

    def date_of(self, ts_ns: int) -> date:
        """Return the date of the day of ``ts_ns``."""
        self.session(ts_ns)
        return self._last_date

    def first_day(self, date: date) -> Session:
        """Return the day of ``date``, or the next one if the zone skipped that date."""
        while not (day := self._day_of(date)):
            date += _DAY
        return day

    def last_day(self, date: date) -> Session:
        """Return the day before ``date``, or one more if the zone skipped that one."""
        while not (day := self._day_of(date - _DAY)):
            date -= _DAY
        return day

    def _day_of(self, date: date) -> Session | None:
        start, end = self._start(date), self._start(date + _DAY)
        return Session(start, end, start, end) if start < end else None


class SessionRules:
    """The rule of every symbol: that of the first pattern that matches, or the default.

    In a pattern, ``*`` stands for any characters, and every other character for itself.
    """

    def __init__(
        self, default: SessionRule, patterns: Sequence[tuple[str, SessionRule]] = ()
    ) -> None:
        self._default = default
        # A symbol has no *, but may have the other characters that patterns of files know.
        self._compiled = [
            (re.compile(".*".join(map(re.escape, pattern.split("*")))), rule)
            for pattern, rule in patterns
        ]

    def rule_for(self, symbol: str) -> SessionRule:
        """Return the rule of a normalized symbol."""
        for pattern, rule in self._compiled:
            if pattern.fullmatch(symbol):
                return rule
        return self._default


def standard_time(zone: ZoneInfo, clock: time) -> int:
    """Return when ``clock`` is in ``zone`` outside summer time, in ns since midnight UTC.

    Bars are uniform in UTC, so one offset is used for the whole year.
    """
    winter = datetime.combine(datetime(2024, 1, 15, tzinfo=UTC), clock, zone)
    if winter.dst():
        winter = winter.replace(month=7)
    return to_ns(winter) % NS_PER_DAY


def from_ns(ts_ns: int) -> datetime:
    """Return a time in ns as a UTC datetime, without its part of a second."""
    return _EPOCH + timedelta(seconds=ts_ns // NS_PER_S)


def to_ns(moment: datetime) -> int:
    """Return a datetime in ns, without its part of a second."""
    return (moment - _EPOCH) // _SECOND * NS_PER_S
