"""Read the trading calendars of ``exchange_calendars`` and the settings that name them."""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, time, timedelta
from difflib import get_close_matches
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from aggregator.sessions.sessions import (
    NoSession,
    SessionRule,
    SessionRules,
    UtcDay,
    ZoneDay,
    to_ns,
)
from aggregator.sessions.trading_days import Calendar, CalendarDay, TradingDay, UsualHours
from marketdata.errors import SettingsError
from marketdata.timestamps import NS_PER_S

# The times a tick can have, and far enough ahead: 22,000 trading days take 0.2 s and 6 MB.
FIRST_DAY = "1970-01-02"
LAST_DAY = "2060-01-01"
_NO_BREAK = -(2**63)
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
_MINUTE_NS = 60 * NS_PER_S
_HOUR_NS = 60 * _MINUTE_NS


class HoursAround(NamedTuple):
    """Trading before the open and after the close; the library has only the regular hours."""

    # On the local clock; None: the day begins with its open.
    pre: time | None
    # After the close; on a half day both shift with it. Until then the auctions are printed.
    auction_ns: int
    # Until then there is trading of any kind.
    post_ns: int


# New York: 04:00 to 20:00, on half days to 17:00. Continuous trading goes on after the close, so
# the time for its auctions is short: of 2013-10-07 they came 1, 5, 8 and 64 s after it.
HOURS_AROUND = {"XNYS": HoursAround(time(4), 2 * _MINUTE_NS, 4 * _HOUR_NS)}
# Elsewhere only auctions, and trades at their price, come after the close. London has 5 minutes for
# the auction, up to 30 s more by chance, two extensions, and trading at its price until 16:40.
AUCTIONS_ONLY = HoursAround(None, 15 * _MINUTE_NS, 15 * _MINUTE_NS)


class CalendarsNotInstalled(SettingsError):
    """A setting names a calendar, and the library of calendars is not installed."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the calendar {name!r} needs the extra 'calendars': "
            "pip install 'market-data-server[calendars]'"
        )


class UnknownSession(SettingsError):
    """A setting has a value that is no session rule."""

    def __init__(self, setting: str, name: str, valid: Iterable[str]) -> None:
        nearest = ", ".join(get_close_matches(name.upper(), valid, n=3, cutoff=0.4))
        hint = f"; the nearest calendars are {nearest}" if nearest else ""
        super().__init__(
            f"{setting}: {name!r} is none of utc-day, none, day:<time zone>, "
            f"day:<time zone>@HH:MM, <calendar>, <calendar>:regular, "
            f"<calendar>:regular-noauctions{hint}"
        )


def load_rules(session: str, calendars: str, *, anchored: bool) -> SessionRules:
    """Return the rules that AGGREGATOR_SESSION and AGGREGATOR_CALENDARS describe.

    Args:
        session: the rule of symbols that no pattern matches.
        calendars: ``PATTERN=RULE,...``.
        anchored: whether intraday bars start at the session's open.

    Raises:
        SettingsError: a rule is invalid, or its calendar needs a library that is not installed.
    """
    loader = _Loader(anchored)
    default = loader.rule("AGGREGATOR_SESSION", session)
    return SessionRules(default, list(_patterns(calendars, loader)))


_OPTIONS = frozenset({"", "regular", "regular-noauctions"})


class _Loader:
    # Loads each calendar once and returns the same rule for equal names.
    def __init__(self, anchored: bool) -> None:
        self._anchored = anchored
        self._rules: dict[str, SessionRule] = {"utc-day": UtcDay(), "none": NoSession()}
        self._calendars: dict[str, Calendar] = {}

    def rule(self, setting: str, text: str) -> SessionRule:
        rule = self._rules.get(text)
        if rule is None:
            rule = self._rules[text] = self._load(setting, text)
        return rule

    def _load(self, setting: str, text: str) -> SessionRule:
        name, _, option = text.partition(":")
        if name == "day":
            zone, at, clock = option.partition("@")
            begins = _clock(setting, clock) if at else time()
            return ZoneDay(_zone(setting, zone), begins, anchored=self._anchored)
        if not name or option not in _OPTIONS or text.endswith(":"):
            raise UnknownSession(setting, text, ())
        if name not in self._calendars:
            self._calendars[name] = load_calendar(name, setting)
        return CalendarDay(
            self._calendars[name],
            regular=option != "",
            auctions=option != "regular-noauctions",
            anchored=self._anchored,
        )


def _patterns(text: str, loader: _Loader) -> Iterator[tuple[str, SessionRule]]:
    for entry in filter(None, map(str.strip, text.split(","))):
        # A symbol may contain an equals sign, the name of a rule does not.
        pattern, equals, rule = entry.rpartition("=")
        if not equals or not pattern.strip():
            raise SettingsError(f"AGGREGATOR_CALENDARS: {entry!r} is not PATTERN=RULE")
        yield pattern.strip(), loader.rule("AGGREGATOR_CALENDARS", rule.strip())


def _zone(setting: str, name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        nearest = get_close_matches(name, available_timezones(), n=3, cutoff=0.4)
        hint = f"; the nearest are {', '.join(nearest)}" if nearest else ""
        raise SettingsError(f"{setting}: {name!r} is no time zone{hint}") from exc


def _clock(setting: str, text: str) -> time:
    found = _CLOCK.fullmatch(text)
    if found is None:
        raise SettingsError(f"{setting}: {text!r} is no time such as 17:00")
    return time(int(found[1]), int(found[2]))


def load_calendar(name: str, setting: str = "AGGREGATOR_SESSION") -> Calendar:
    """Return the trading days of an exchange by its name in ``exchange_calendars``.

    Raises:
        SettingsError: there is no such calendar, or the library is not installed.
    """
    try:
        # It loads pandas, which takes 0.5 s, so only if a setting names a calendar.
        library = importlib.import_module("exchange_calendars")
    except ImportError as exc:
        raise CalendarsNotInstalled(name) from exc
    names = library.get_calendar_names(include_aliases=True)
    if name not in names:
        raise UnknownSession(setting, name, names)
    name = library.resolve_alias(name)
    try:
        with warnings.catch_warnings():
            # Warnings about how the library uses pandas are no lines of our log.
            warnings.simplefilter("ignore")
            known = _widest(library, name)
    except (NotImplementedError, ValueError) as exc:
        # Some calendars do not work with every version of pandas.
        raise SettingsError(
            f"{setting}: the installed exchange_calendars cannot compute {name}: {str(exc)[:200]}"
        ) from exc
    zone = ZoneInfo(str(known.tz))
    around = HOURS_AROUND.get(name, AUCTIONS_ONLY)
    return Calendar(list(_trading_days(known, zone, around)), _usual(known, zone, around))


def _widest(library: Any, name: str) -> Any:
    # Some calendars have holidays only between two dates.
    known = library.get_calendar(name)
    first, last = known.bound_min(), known.bound_max()
    timestamp = type(known.first_session)
    return library.get_calendar(
        name,
        start=timestamp(FIRST_DAY) if first is None else max(first, timestamp(FIRST_DAY)),
        end=timestamp(LAST_DAY) if last is None else min(last, timestamp(LAST_DAY)),
    )


def _trading_days(known: Any, zone: ZoneInfo, around: HoursAround) -> Iterator[TradingDay]:
    columns = (
        known.opens_nanos,
        known.closes_nanos,
        known.break_starts_nanos,
        known.break_ends_nanos,
    )
    end = 0
    for opened, closed, pause, resumed in zip(*(c.tolist() for c in columns), strict=True):
        pre = opened
        if around.pre is not None:
            day = datetime.fromtimestamp(opened // NS_PER_S, zone).date()
            pre = to_ns(datetime.combine(day, around.pre, zone))
        breaks = (closed, closed) if pause == _NO_BREAK else (pause, resumed)
        after = (closed + around.auction_ns, closed + around.post_ns)
        # If two days of a calendar overlap, the time belongs to the earlier one.
        if closed > end:
            yield TradingDay(max(pre, end), max(opened, end), *breaks, closed, *after)
            end = closed


def _usual(known: Any, zone: ZoneInfo, around: HoursAround) -> UsualHours:
    # Those of the calendar's last days: the library lists the changes, and the last one counts.
    opens = _offset(known.open_times[-1][1], known.open_offset)
    closes = _offset(known.close_times[-1][1], known.close_offset)
    # If an exchange has given up its lunch break, the last entry is empty.
    paused = known.break_start_times[-1][1] if known.break_start_times else None
    resumed = known.break_end_times[-1][1] if known.break_end_times else None
    pause = (closes, closes)
    if paused is not None and resumed is not None:
        pause = (_offset(paused, 0), _offset(resumed, 0))
    pre = opens if around.pre is None else _offset(around.pre, 0)
    auction_end, post_end = (
        closes + timedelta(microseconds=ns // 1000) for ns in (around.auction_ns, around.post_ns)
    )
    weekdays = frozenset(day for day, flag in enumerate(known.weekmask) if flag == "1")
    return UsualHours(zone, weekdays, (pre, opens, *pause, closes, auction_end, post_end))


def _offset(clock: time, days: int) -> timedelta:
    midnight = datetime(2000, 1, 1, tzinfo=UTC)
    return datetime.combine(midnight, clock, UTC) - midnight + timedelta(days=days)
