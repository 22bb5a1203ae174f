"""Which session a time belongs to: days, zones, trading days."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.sessions.calendars import load_calendar, load_rules
from aggregator.sessions.sessions import (
    END_OF_TIME,
    NS_PER_DAY,
    NoSession,
    SessionRule,
    UtcDay,
    ZoneDay,
)
from aggregator.sessions.trading_days import Calendar, CalendarDay, TradingDay, UsualHours
from marketdata.timestamps import NS_PER_S

NEW_YORK = ZoneInfo("America/New_York")
HOUR = 3600 * NS_PER_S
MINUTE = 60 * NS_PER_S
# To the year 2078, well after the known days.
times = st.integers(1, 3_400_000_000 * NS_PER_S)
recent_times = st.integers(0, 2_000_000_000).map(lambda s: s * NS_PER_S + 1)


@cache
def calendar(name: str) -> Calendar:
    return load_calendar(name)


def xnys(*, regular: bool = False, anchored: bool = False) -> CalendarDay:
    return CalendarDay(calendar("XNYS"), regular=regular, anchored=anchored)


def at(text: str, zone: ZoneInfo = NEW_YORK) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()) * NS_PER_S


def hours(rule: SessionRule, ts: int, zone: ZoneInfo = NEW_YORK) -> str:
    session = rule.session(ts)
    assert session is not None
    return " ".join(
        f"{datetime.fromtimestamp(edge // NS_PER_S, zone):%Y-%m-%d %H:%M}"
        for edge in (session.start, session.end)
    )


def test_a_utc_day_and_all_of_time() -> None:
    ts = 5 * NS_PER_DAY + 7
    day = (5 * NS_PER_DAY, 6 * NS_PER_DAY) * 2
    assert UtcDay().session(ts) == UtcDay().day(ts) == day
    assert NoSession().session(ts) == (0, END_OF_TIME, 0, END_OF_TIME)
    assert NoSession().day(ts) == day
    assert UtcDay().phase(ts) == NoSession().phase(ts) == ""
    assert UtcDay().anchor(HOUR) == 0


# Days of a zone.


@pytest.mark.parametrize(
    ("moment", "length"),
    [("2024-03-09 12:00", 24), ("2024-03-10 12:00", 23), ("2024-11-03 12:00", 25)],
)
def test_a_day_of_new_york_has_23_24_or_25_hours(moment: str, length: int) -> None:
    session = ZoneDay(NEW_YORK).session(at(moment))
    assert session.end - session.start == length * HOUR
    assert session.start == at(moment[:10] + " 00:00")
    assert (session.opens, session.closes) == (session.start, session.end)


@pytest.mark.parametrize(
    ("zone", "moment", "length"),
    [
        # The clocks change at midnight, so the day starts at 01:00 by them.
        ("America/Sao_Paulo", "2018-11-04 12:00", 23),
        ("America/Sao_Paulo", "2018-02-17 12:00", 25),
        # Midnight comes twice.
        ("America/Havana", "2024-11-03 12:00", 25),
        # The 30th was left out.
        ("Pacific/Apia", "2011-12-29 12:00", 24),
        ("Pacific/Apia", "2011-12-31 12:00", 24),
        # Half an hour.
        ("Australia/Lord_Howe", "2024-10-06 12:00", 23.5),
    ],
)
def test_days_whose_clocks_do_strange_things(zone: str, moment: str, length: float) -> None:
    session = ZoneDay(ZoneInfo(zone)).session(at(moment, ZoneInfo(zone)))
    assert session.end - session.start == length * HOUR


zones = st.sampled_from(
    ["UTC", "America/New_York", "Asia/Kolkata", "America/Sao_Paulo", "Pacific/Apia",
     "America/Havana", "Australia/Lord_Howe", "Africa/Monrovia", "Asia/Tehran"]
)  # fmt: skip


@settings(deadline=None)
@given(zones, st.lists(recent_times, min_size=1, max_size=20))
def test_every_time_is_in_its_day_and_days_leave_no_gap(zone: str, moments: list[int]) -> None:
    rule = ZoneDay(ZoneInfo(zone))
    for ts in moments:
        session = rule.session(ts)
        assert session.start <= ts < session.end
        assert rule.session(session.end).start == session.end
        assert rule.session(session.end - 1) == session
        local = datetime.fromtimestamp(ts // NS_PER_S, ZoneInfo(zone)).date()
        begun = datetime.fromtimestamp(session.start // NS_PER_S, ZoneInfo(zone)).date()
        assert begun == local


clocks = st.sampled_from([time(), time(0, 30), time(2, 30), time(11, 59), time(12), time(17)])


@settings(deadline=None)
@given(zones, clocks, st.lists(recent_times, min_size=1, max_size=20))
def test_days_that_begin_at_a_time_leave_no_gap_and_begin_at_that_time(
    zone: str, clock: time, moments: list[int]
) -> None:
    rule = ZoneDay(ZoneInfo(zone), clock)
    for ts in moments:
        session = rule.day(ts)
        assert session.start <= ts < session.end
        assert rule.day(session.end).start == session.end
        assert rule.day(session.end - 1) == session
        begun = datetime.fromtimestamp(session.start // NS_PER_S, ZoneInfo(zone))
        # If the clock skips that time, the day begins when it does.
        skipped = begun.utcoffset() != (begun - timedelta(hours=3)).utcoffset()
        assert begun.time() == clock or skipped


@settings(deadline=None)
@given(
    st.sampled_from(
        ["utc-day", "none", "day:Pacific/Apia", "day:America/New_York@17:00", "XNYS",
         "XNYS:regular", "XHKG", "CMES", "24/7"]
    ),
    recent_times,
)  # fmt: skip
def test_the_date_of_a_day_finds_the_day(session: str, ts: int) -> None:
    rule = rule_of(session)
    date = rule.date_of(ts)
    day = rule.first_day(date)
    assert rule.date_of(day.start) == date
    assert rule.day(day.start) == day
    within = rule.day(ts)
    assert within is None or within == day
    # The next one, over holidays and dates that a zone skips.
    following = rule.first_day(date + timedelta(days=1))
    assert following.start >= day.end
    assert rule.last_day(rule.date_of(following.start)) == day
    assert rule.last_day(date + timedelta(days=1)) == day


@cache
def rule_of(session: str) -> SessionRule:
    return load_rules(session, "", anchored=False).rule_for("A")


def test_before_the_first_trading_day_there_is_none() -> None:
    rule = rule_of("XNYS")
    first = rule.date_of(1)
    assert rule.first_day(first).start == 0
    assert rule.last_day(first) is None


@pytest.mark.parametrize(
    ("clock", "moment", "expected"),
    [
        # The day of foreign exchange that is called Monday begins on Sunday.
        (time(17), "2024-07-14 17:00", "2024-07-15"),
        (time(17), "2024-07-15 16:59", "2024-07-15"),
        (time(12), "2024-07-15 12:00", "2024-07-16"),
        # Most of its hours are Monday's.
        (time(4), "2024-07-15 04:00", "2024-07-15"),
        (time(4), "2024-07-16 03:59", "2024-07-15"),
    ],
)
def test_a_day_has_the_date_to_which_most_of_its_hours_belong(
    clock: time, moment: str, expected: str
) -> None:
    assert str(ZoneDay(NEW_YORK, clock).date_of(at(moment))) == expected


@pytest.mark.parametrize(
    ("moment", "length"),
    [("2024-03-10 12:00", 23), ("2024-03-11 12:00", 24), ("2024-11-03 12:00", 25)],
)
def test_a_day_from_17_to_17_has_23_24_or_25_hours(moment: str, length: int) -> None:
    session = ZoneDay(NEW_YORK, time(17)).session(at(moment))
    assert session.end - session.start == length * HOUR


# Trading days.


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        # An ordinary Tuesday, from its pre-market to that of Wednesday.
        ("2024-07-16 10:00", "2024-07-16 04:00 2024-07-17 04:00"),
        ("2024-07-16 04:00", "2024-07-16 04:00 2024-07-17 04:00"),
        # A trade after the close belongs to the day that closed.
        ("2024-07-16 16:00", "2024-07-16 04:00 2024-07-17 04:00"),
        ("2024-07-16 20:00", "2024-07-16 04:00 2024-07-17 04:00"),
        ("2024-07-17 03:59", "2024-07-16 04:00 2024-07-17 04:00"),
        # A weekend belongs to the Friday.
        ("2024-07-12 20:00", "2024-07-12 04:00 2024-07-15 04:00"),
        ("2024-07-14 12:00", "2024-07-12 04:00 2024-07-15 04:00"),
        # A holiday belongs to the day before: here Thanksgiving, before a half day.
        ("2024-11-28 12:00", "2024-11-27 04:00 2024-11-29 04:00"),
        ("2024-11-29 13:00", "2024-11-29 04:00 2024-12-02 04:00"),
        ("2024-11-29 17:00", "2024-11-29 04:00 2024-12-02 04:00"),
        # The clocks change on a Sunday, so Friday's session has an hour less or more.
        ("2024-03-10 12:00", "2024-03-08 04:00 2024-03-11 04:00"),
        ("2024-11-03 12:00", "2024-11-01 04:00 2024-11-04 04:00"),
    ],
)
def test_every_time_counts_for_a_trading_day_of_new_york(moment: str, expected: str) -> None:
    rule = xnys()
    assert hours(rule, at(moment)) == expected
    assert rule.day(at(moment)) == rule.session(at(moment))


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        # With two minutes for the closing auction.
        ("2024-07-16 09:30", "2024-07-16 09:30 2024-07-16 16:02"),
        ("2024-07-16 16:01", "2024-07-16 09:30 2024-07-16 16:02"),
        ("2024-11-29 13:00", "2024-11-29 09:30 2024-11-29 13:02"),
    ],
)
def test_a_regular_session_is_from_open_to_close_and_its_auction(
    moment: str, expected: str
) -> None:
    assert hours(xnys(regular=True), at(moment)) == expected
    without = load_rules("XNYS:regular-noauctions", "", anchored=False).rule_for("A")
    session = without.session(at(moment[:10] + " 12:00"))
    assert session is not None
    assert (session.start, session.end) == (session.opens, session.closes)
    assert session.end == at(expected[17:]) - 2 * MINUTE


@pytest.mark.parametrize(
    "moment",
    ["2024-07-16 09:29", "2024-07-16 16:02", "2024-11-29 13:02", "2024-11-28 12:00",
     "2024-07-14 12:00"],
)  # fmt: skip
def test_outside_regular_hours_there_is_no_regular_session(moment: str) -> None:
    rule = xnys(regular=True)
    assert rule.session(at(moment)) is None
    assert rule.day(at(moment)) is None


@pytest.mark.parametrize(
    ("moment", "phase"),
    [
        ("2024-07-16 03:59", "closed"), ("2024-07-16 04:00", "pre"), ("2024-07-16 09:29", "pre"),
        ("2024-07-16 09:30", "regular"), ("2024-07-16 15:59", "regular"),
        ("2024-07-16 16:00", "post"), ("2024-07-16 19:59", "post"), ("2024-07-16 20:00", "closed"),
        ("2024-11-29 12:59", "regular"), ("2024-11-29 13:00", "post"), ("2024-11-29 16:59", "post"),
        ("2024-11-29 17:00", "closed"), ("2024-11-28 12:00", "closed"),
        ("2024-07-14 12:00", "closed"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("regular", [True, False])
def test_a_phase_is_that_of_the_exchange(moment: str, phase: str, regular: bool) -> None:
    assert xnys(regular=regular).phase(at(moment)) == phase


def test_a_session_opens_with_the_pre_market() -> None:
    session = xnys().session(at("2024-07-15 12:00"))
    assert session is not None
    assert (session.opens, session.closes) == (at("2024-07-15 04:00"), at("2024-07-15 20:00"))


def test_an_exchange_without_extended_hours_has_regular_ones_and_a_break_is_closed() -> None:
    zone, rule = ZoneInfo("Asia/Hong_Kong"), CalendarDay(calendar("XHKG"))
    phases = {
        f"{h:02}:30": rule.phase(at(f"2024-07-16 {h:02}:30", zone)) for h in (8, 9, 12, 13, 16)
    }
    assert phases == {
        "08:30": "closed", "09:30": "regular", "12:30": "closed", "13:30": "regular",
        "16:30": "closed",
    }  # fmt: skip
    assert hours(rule, at("2024-07-16 12:30", zone), zone) == "2024-07-16 09:30 2024-07-17 09:30"
    assert rule.phase(at("2024-07-16 16:10", zone)) == "post"


LONDON = ZoneInfo("Europe/London")


@pytest.mark.parametrize(
    ("moment", "expected", "phase"),
    [
        ("2024-07-16 16:29", "2024-07-16 08:00 2024-07-17 08:00", "regular"),
        # Tuesday's closing auction.
        ("2024-07-16 16:35", "2024-07-16 08:00 2024-07-17 08:00", "post"),
        ("2024-07-16 16:44", "2024-07-16 08:00 2024-07-17 08:00", "post"),
        ("2024-07-16 16:45", "2024-07-16 08:00 2024-07-17 08:00", "closed"),
        ("2024-07-17 07:59", "2024-07-16 08:00 2024-07-17 08:00", "closed"),
        ("2024-07-17 08:00", "2024-07-17 08:00 2024-07-18 08:00", "regular"),
        # Of a Friday, of the half day before Christmas (12:30), and of the day before Good Friday.
        ("2024-07-19 16:35", "2024-07-19 08:00 2024-07-22 08:00", "post"),
        ("2024-12-24 12:35", "2024-12-24 08:00 2024-12-27 08:00", "post"),
        ("2024-03-28 16:35", "2024-03-28 08:00 2024-04-02 08:00", "post"),
    ],
)
def test_the_closing_auction_of_london_belongs_to_the_day_that_closed(
    moment: str, expected: str, phase: str
) -> None:
    rule = CalendarDay(calendar("XLON"))
    assert hours(rule, at(moment, LONDON), LONDON) == expected
    assert rule.phase(at(moment, LONDON)) == phase


@pytest.mark.parametrize(
    ("session", "counts"),
    [("XLON", True), ("XLON:regular", True), ("XLON:regular-noauctions", False)],
)
def test_a_session_says_whether_auctions_count(session: str, counts: bool) -> None:
    rule = load_rules(session, "", anchored=False).rule_for("VOD.L")
    auction = rule.session(at("2024-07-16 16:35", LONDON))
    assert (auction is not None) is counts
    assert auction == (rule.session(at("2024-07-16 10:00", LONDON)) if counts else None)


def test_an_exchange_that_never_closes() -> None:
    rule = CalendarDay(calendar("24/7"), regular=True)
    session = rule.session(at("2024-07-14 12:00", ZoneInfo("UTC")))
    assert session is not None
    assert session.end - session.start == NS_PER_DAY
    assert rule.phase(session.end) == "regular"


def test_an_exchange_whose_day_begins_the_evening_before() -> None:
    zone, rule = ZoneInfo("America/Chicago"), CalendarDay(calendar("CMES"))
    assert hours(rule, at("2024-07-15 18:00", zone), zone) == "2024-07-15 17:00 2024-07-16 17:00"
    # A Friday ends on Sunday evening, and the half day after Thanksgiving too.
    friday = "2024-07-18 17:00 2024-07-21 17:00"
    assert hours(rule, at("2024-07-19 16:59", zone), zone) == friday
    assert hours(rule, at("2024-07-20 12:00", zone), zone) == friday
    half = "2024-11-28 17:00 2024-12-01 17:00"
    assert hours(rule, at("2024-11-29 12:10", zone), zone) == half
    assert rule.phase(at("2024-11-29 12:10", zone)) == "post"


@pytest.mark.parametrize("name", ["XNYS", "XHKG", "24/7", "CMES", "XBOM"])
@pytest.mark.parametrize("regular", [True, False])
@settings(deadline=None)
@given(moments=st.lists(times | recent_times, min_size=1, max_size=20))
def test_every_time_has_its_place_also_beyond_the_known_days(
    name: str, regular: bool, moments: list[int]
) -> None:
    rule = CalendarDay(calendar(name), regular=regular)
    fresh = CalendarDay(calendar(name), regular=regular)
    for ts in moments:
        session = rule.session(ts)
        phase = rule.phase(ts)
        assert session is None or session.start <= ts < session.end
        assert session is None or session.opens < session.closes
        assert regular or session is not None
        assert not regular or (session is None) == _outside(rule, ts)
        # Earlier calls change no result.
        assert (fresh.phase(ts), fresh.session(ts)) == (phase, session)


def _outside(rule: CalendarDay, ts: int) -> bool:
    # Before the open, or after the time of the auctions.
    number = rule._calendar.index(ts)
    day, (_, end) = rule._calendar.day(number), rule._calendar.bounds(number)
    return not day.open <= ts < min(day.auction_end, end)


def test_beyond_the_known_days_every_weekday_has_the_usual_hours() -> None:
    rule = xnys()
    # Christmas 2090 is a Monday; the calendar does not know yet that it is a holiday.
    assert hours(rule, at("2090-12-25 12:00")) == "2090-12-25 04:00 2090-12-26 04:00"
    assert rule.phase(at("2090-12-25 12:00")) == "regular"
    assert rule.phase(at("2090-07-15 12:00")) == "closed"  # a Saturday
    assert rule.phase(at("2090-07-14 09:30")) == "regular"
    assert rule.phase(at("2090-07-14 09:29")) == "pre"


def test_days_before_the_known_ones_have_the_usual_hours_too() -> None:
    zone, rule = ZoneInfo("Asia/Kolkata"), CalendarDay(calendar("XBOM"))
    assert hours(rule, at("1990-01-03 12:00", zone), zone) == "1990-01-03 09:15 1990-01-04 09:15"


def test_a_calendar_without_known_days_has_usual_ones() -> None:
    offsets = tuple(timedelta(hours=h) for h in (8, 8, 16, 16, 16, 17, 18))
    assert len(offsets) == 7
    usual = UsualHours(ZoneInfo("UTC"), frozenset({0}), offsets)
    rule = CalendarDay(Calendar([], usual))
    # The first Monday after 1970-01-01.
    monday = 4 * NS_PER_DAY
    week = 7 * NS_PER_DAY
    assert rule.session(1) == (0, monday + week + 8 * HOUR, monday + 8 * HOUR, monday + 18 * HOUR)
    with pytest.raises(ValueError, match="without a trading day"):
        UsualHours(ZoneInfo("UTC"), frozenset(), offsets)


@pytest.mark.parametrize("name", ["XNYS", "XHKG", "CMES", "24/7"])
def test_trading_days_follow_each_other(name: str) -> None:
    known = calendar(name)
    ends = known.index(at("2060-06-01 12:00"))
    days = [known.day(number) for number in range(ends)]
    for day in days:
        assert day.pre <= day.open <= day.break_start <= day.break_end <= day.close
        assert day.close < day.auction_end <= day.post_end
    assert all(before.close <= after.pre for before, after in pairwise(days))


# Anchors.


@pytest.mark.parametrize(
    ("rule", "interval", "expected"),
    [
        (xnys, HOUR, 30 * MINUTE),
        (xnys, 30 * MINUTE, 0),
        (xnys, 15 * MINUTE, 0),
        (xnys, NS_PER_S, 0),
        # 09:30 is 14:30 UTC in winter.
        (xnys, 4 * HOUR, 2 * HOUR + 30 * MINUTE),
    ],
)
def test_bars_anchored_to_the_session_begin_with_its_open(
    rule: Callable[..., CalendarDay], interval: int, expected: int
) -> None:
    assert rule(anchored=True).anchor(interval) == expected
    assert rule().anchor(interval) == 0


def test_bars_anchored_to_a_day_of_a_zone_begin_with_it() -> None:
    rule = ZoneDay(ZoneInfo("Asia/Kolkata"), anchored=True)
    assert rule.anchor(HOUR) == 30 * MINUTE
    # Winter is in July there.
    assert ZoneDay(ZoneInfo("Australia/Sydney"), anchored=True).anchor(4 * HOUR) == 2 * HOUR
    # 17:00 is 22:00 UTC in winter.
    assert ZoneDay(NEW_YORK, time(17), anchored=True).anchor(4 * HOUR) == 2 * HOUR


# Settings.


def test_the_first_pattern_that_matches_gives_the_rule() -> None:
    rules = load_rules("utc-day", "*.N=XNYS, BTC-*=none,*=XNYS:regular", anchored=False)
    assert isinstance(rules.rule_for("IBM.N"), CalendarDay)
    assert isinstance(rules.rule_for("BTC-USD"), NoSession)
    regular = rules.rule_for("IBM")
    assert regular.session(at("2024-07-16 08:00")) is None
    assert rules.rule_for("SPY") is regular


def test_days_that_begin_at_a_time_can_be_those_of_a_pattern() -> None:
    rules = load_rules("utc-day", "EUR/*=day:America/New_York@17:00", anchored=False)
    assert hours(rules.rule_for("EUR/USD"), at("2024-07-14 18:00")) == (
        "2024-07-14 17:00 2024-07-15 17:00"
    )
    assert isinstance(rules.rule_for("BTC-USD"), UtcDay)


def test_a_symbol_that_no_pattern_matches_has_the_session_of_all() -> None:
    rules = load_rules("day:America/New_York", "A=none", anchored=False)
    assert isinstance(rules.rule_for("A"), NoSession)
    assert isinstance(rules.rule_for("B"), ZoneDay)
    assert isinstance(load_rules("utc-day", "", anchored=False).rule_for("A"), UtcDay)


def test_in_a_pattern_only_the_asterisk_stands_for_something_else() -> None:
    rules = load_rules("utc-day", "ES[1]*=none,A?=none,AMPB=none", anchored=False)
    for symbol in ("ES[1]", "ES[1] 12-25", "A?", "AMPB"):
        assert isinstance(rules.rule_for(symbol), NoSession)
    for symbol in ("ES1", "AB", "AMpB", "xES[1]"):
        assert type(rules.rule_for(symbol)) is UtcDay


def test_an_equals_sign_may_be_part_of_a_symbol() -> None:
    rules = load_rules("utc-day", "EUR=X=none", anchored=False)
    assert isinstance(rules.rule_for("EUR=X"), NoSession)


def test_an_alias_is_the_calendar_it_stands_for() -> None:
    rule = load_rules("NYSE", "", anchored=False).rule_for("A")
    assert rule.phase(at("2024-07-16 04:00")) == "pre"


def test_the_known_days_reach_years_ahead() -> None:
    soon = datetime.now(UTC).date().replace(month=12, day=25) + timedelta(days=366)
    while soon.weekday() >= 5:
        soon += timedelta(days=365)
    assert xnys().phase(at(f"{soon.year}-12-25 12:00")) == "closed"


def test_a_trading_day_is_a_plain_value() -> None:
    assert TradingDay(1, 2, 3, 4, 5, 6, 7).close == 5
