"""Bars of weeks, months, years and several days are those of their trades."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from itertools import pairwise
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.bars.bar import BarState, Coverage
from aggregator.history.long_bars import LongRules
from aggregator.history.query import InvalidBars
from aggregator.history.reader import BarReader
from aggregator.sessions.calendars import load_rules
from aggregator.sessions.periods import PeriodPlan
from aggregator.sessions.sessions import SessionRule
from aggregator.store.rows import to_row
from marketdata.intervals import InvalidInterval, parse_interval
from marketdata.timestamps import NS_PER_S
from marketdata.wire import market_data_pb2 as wire
from tests.doubles.bars import EngineHarness, Trade
from tests.doubles.made_bars import MemoryOfBars, StoreInMemory, make_bar

DAY = timedelta(days=1)
HOUR_NS = 3600 * NS_PER_S
INTERVALS = {"1d": parse_interval("1d")}
PARTIAL, FINAL = wire.BAR_STATE_PARTIAL, wire.BAR_STATE_FINAL
REVISED = wire.BAR_STATE_REVISED


def ns(moment: datetime) -> int:
    return int(moment.timestamp()) * NS_PER_S


def at(text: str, zone: str = "UTC") -> int:
    return ns(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)))


def rule_of(session: str) -> SessionRule:
    return load_rules(session, "", anchored=False).rule_for("A")


class Market:
    """An engine with daily bars, a store of those that closed, and their reader."""

    def __init__(self, session: str = "utc-day", plan: PeriodPlan | None = None) -> None:
        self.rule = rule_of(session)
        self.harness = EngineHarness("1d", rule=self.rule, revise_s=10**9)
        self.store = StoreInMemory()
        self.now = 0
        self.feed: Callable[[int, int], Coverage] = lambda _start, _end: Coverage.FULL
        self.refused: Callable[[str, int, int], int] = lambda _symbol, _start, _end: 0
        self.kept_from = 0
        rules = LongRules(plan or PeriodPlan(), 2 * NS_PER_S, self._time, lambda: self.kept_from)
        self.reader = BarReader(
            self.harness.engine.series,
            self.store,
            intervals=INTERVALS,
            hours=lambda _symbol: self.rule,
            coverage=self._coverage,
            refused=self._refused,
            epoch=lambda: 77,
            long_rules=rules,
        )

    # Tests change what these call.
    def _coverage(self, start: int, end: int) -> Coverage:
        return self.feed(start, end)

    def _refused(self, symbol: str, start: int, end: int) -> int:
        return self.refused(symbol, start, end)

    def _time(self, symbol: str) -> int:
        found = self.harness.engine.time(symbol, self.now)
        return self.now if found is None else found

    def trade(self, *trades: Trade) -> None:
        self.harness.trade(*trades)
        for bar in self.harness.closed:
            self.store.rows[bar.start, 0] = to_row(bar)
        self.harness.closed.clear()

    async def read(self, interval: str = "1w", **asked: Any) -> wire.BarsResponse:
        asked = {"symbol": "A", "include_partial": True, **asked}
        if "from_ns" in asked:
            asked["from"] = asked.pop("from_ns")
        return await self.reader.read(wire.BarsRequest(interval=interval, **asked))

    async def bars(self, interval: str = "1w", **asked: Any) -> list[wire.Bar]:
        return list((await self.read(interval, **asked)).bars)

    async def filled(self, interval: str = "1w", **asked: Any) -> list[wire.Bar]:
        return await self.bars(interval, fill=wire.FILL_ALL, **asked)


# The same in plain Python: from a time to the date it counts for, and from a date to the time at
# which it begins.
def zone_date(ts: int, zone: ZoneInfo, clock: time) -> date:
    local = datetime.fromtimestamp(ts // NS_PER_S, UTC).astimezone(zone)
    if clock >= time(12):
        return local.date() + (DAY if local.time() >= clock else 0 * DAY)
    return local.date() - (DAY if local.time() < clock else 0 * DAY)


def zone_start(day: date, zone: ZoneInfo, clock: time) -> int:
    begins = day - DAY if clock >= time(12) else day
    return ns(datetime.combine(begins, clock, zone))


def first_date(interval: str, day: date, plan: PeriodPlan) -> date:
    number, unit = int(interval[:-1]), interval[-1]
    match unit:
        case "w":
            monday = day
            while monday.weekday() != plan.week_start:
                monday -= DAY
            base = plan.anchor
            while base.weekday() != plan.week_start:
                base -= DAY
            return base + (monday - base) // (7 * number * DAY) * 7 * number * DAY
        case "d":
            return plan.anchor + (day - plan.anchor) // (number * DAY) * number * DAY
        case "M":
            return date(day.year, (day.month - 1) // number * number + 1, 1)
        case _:
            return date(day.year - (day.year - 1970) % number, 1, 1)


def computed(
    trades: list[Trade], interval: str, plan: PeriodPlan, zone: ZoneInfo, clock: time
) -> list[tuple[Any, ...]]:
    groups: dict[date, list[Trade]] = {}
    for trade in trades:
        first = first_date(interval, zone_date(trade.ts, zone, clock), plan)
        groups.setdefault(first, []).append(trade)
    found = []
    for first, mine in sorted(groups.items()):
        mine.sort(key=lambda trade: trade.ts)
        prices = [trade.price for trade in mine]
        volume = sum(trade.volume for trade in mine)
        money = sum((Fraction(each.price) * each.volume for each in mine), Fraction())
        # No trade is older than 1970.
        start = max(zone_start(first, zone, clock), 0)
        prices_and_totals = (prices[0], max(prices), min(prices), prices[-1], volume, len(mine))
        vwap = float(money / volume)
        found.append((start, *prices_and_totals, mine[0].ts, mine[-1].ts, vwap))
    return found


def said(bar: wire.Bar) -> tuple[Any, ...]:
    prices = bar.open, bar.high, bar.low, bar.close
    times = bar.first_timestamp, bar.last_timestamp
    return bar.start, *prices, bar.volume, bar.trades, *times, pytest.approx(bar.vwap, rel=1e-12)


ZONES = ["UTC", "America/New_York", "Europe/London", "Asia/Kolkata", "Australia/Lord_Howe",
         "America/Sao_Paulo", "Africa/Cairo"]  # fmt: skip
CLOCKS = [time(), time(2, 30), time(11, 59), time(12), time(17)]
NAMES = ["1w", "2w", "1M", "3M", "6M", "1y", "2y", "2d", "3d", "10d", "100d"]


@st.composite
def random_trades(draw: st.DrawFn) -> list[Trade]:
    random = Random(draw(st.integers(0, 2**32)))
    first = ns(datetime(draw(st.integers(1971, 2030)), 1, 1, tzinfo=UTC))
    span_days = draw(st.sampled_from([3, 40, 800]))
    times = {
        first + random.randrange(span_days * 24 * 4) * 15 * 60 * NS_PER_S
        for _ in range(draw(st.integers(1, 40)))
    }
    trades = [Trade(ts, random.randrange(1, 10**6) / 100, random.randrange(1, 99)) for ts in times]
    random.shuffle(trades)
    return trades


@settings(max_examples=150, deadline=None)
@given(
    random_trades(),
    st.sampled_from(ZONES),
    st.sampled_from(CLOCKS),
    st.sampled_from(NAMES),
    st.builds(PeriodPlan, st.integers(0, 6), st.dates(date(1900, 1, 1), date(2100, 1, 1))),
)
async def test_long_bars_are_those_of_their_trades_in_any_order_and_zone(
    trades: list[Trade], zone: str, clock: time, interval: str, plan: PeriodPlan
) -> None:
    market = Market(f"day:{zone}@{clock:%H:%M}", plan)
    for trade in trades:
        market.trade(trade)
    want = computed(trades, interval, plan, ZoneInfo(zone), clock)
    bars = await market.bars(interval)
    assert [said(bar) for bar in bars] == want
    # Each begins where the one before could end, and holds its trades.
    for before, bar in pairwise(bars):
        assert before.end <= bar.start
    assert all(bar.start <= bar.first_timestamp <= bar.last_timestamp < bar.end for bar in bars)
    # The latest trade may be within the grace of the bar before.
    latest = bars[-1].last_timestamp
    for bar in bars:
        is_closed = latest >= bar.end + 2 * NS_PER_S
        assert (bar.state in {FINAL, REVISED}) == is_closed
        assert not is_closed or (bar.state == REVISED) == (bar.revision > 0)
    assert bars[-1].state == PARTIAL


@settings(max_examples=100, deadline=None)
@given(random_trades(), st.sampled_from(["1w", "1M", "3d", "1y"]), st.data())
async def test_pages_and_ranges_are_parts_of_the_series(
    trades: list[Trade], interval: str, data: st.DataObject
) -> None:
    market = Market("day:America/New_York@17:00")
    market.trade(*trades)
    fill = data.draw(st.sampled_from([wire.FILL_NONE, wire.FILL_ALL]))
    whole = await market.bars(interval, limit=10_000, fill=fill, from_ns=0)
    limit = data.draw(st.integers(1, 7))
    assert await market.bars(interval, limit=limit, fill=fill) == whole[-limit:]
    paged: list[wire.Bar] = []
    cursor = ""
    while True:
        page = await market.read(interval, limit=limit, fill=fill, cursor=cursor, from_ns=0)
        paged += page.bars
        assert len(page.bars) <= limit
        cursor = page.next_cursor
        if not cursor:
            break
    assert paged == whole
    starts = st.sampled_from([bar.start + shift for bar in whole for shift in (-1, 0, 1)])
    low, high = sorted((data.draw(starts), data.draw(starts)))
    plain = await market.bars(interval, from_ns=max(low, 0), to=high + 1)
    assert plain == [bar for bar in whole if low <= bar.start <= high and not bar.filler]


@pytest.mark.parametrize("interval", ["1w", "1M", "3d"])
async def test_many_days_are_read_in_parts(interval: str) -> None:
    market = Market()
    days = [make_bar(86_400 * n, "A", "1d", prices=(float(n + 1),)) for n in range(3_100)]
    market.store.rows = {(bar.start, 0): to_row(bar) for bar in days}
    market.now = 2**62
    whole = await market.bars(interval, limit=10_000, from_ns=0)
    assert sum(bar.trades for bar in whole) == 3_100
    assert await market.bars(interval, limit=1_000) == whole[-1_000:]
    page = await market.bars(interval, limit=50, from_ns=whole[7].start)
    assert page == whole[7:57]


# States


async def test_the_open_day_is_in_the_open_week_which_closes_after_the_grace() -> None:
    market = Market()
    market.trade(Trade(at("2024-01-03T12:00"), 10.0), Trade(at("2024-01-05T12:00"), 12.0, 5))
    (week,) = await market.bars()
    assert (week.close, week.volume, week.state) == (12.0, 6, PARTIAL)
    assert (week.start, week.end) == (at("2024-01-01T00:00"), at("2024-01-08T00:00"))
    assert await market.bars(include_partial=False) == []
    market.trade(Trade(at("2024-01-08T00:00:01"), 11.0))
    week, _ = await market.bars()
    assert week.state == wire.BAR_STATE_EARLY
    market.trade(Trade(at("2024-01-08T00:00:02"), 11.0))
    week, following = await market.bars()
    assert (week.state, week.revision, following.state) == (FINAL, 0, PARTIAL)
    assert await market.bars(include_partial=False) == [week]


async def test_a_revised_day_revises_the_week() -> None:
    market = Market()
    market.trade(Trade(at("2024-01-05T12:00"), 10.0))
    market.trade(Trade(at("2024-01-09T12:00"), 11.0))
    market.trade(Trade(at("2024-01-04T12:00"), 9.0))
    week, _ = await market.bars()
    assert (week.open, week.low, week.state, week.revision) == (9.0, 9.0, FINAL, 0)
    market.trade(Trade(at("2024-01-05T13:00"), 10.5))
    week, _ = await market.bars()
    assert (week.close, week.state, week.revision) == (10.5, REVISED, 1)


async def test_the_wall_clock_closes_the_week_of_a_symbol_that_is_only_stored() -> None:
    market = Market()
    bar = make_bar(at("2024-01-02T00:00") // NS_PER_S, "A", "1d")
    market.store.rows[bar.start, 0] = to_row(bar)
    market.now = at("2024-01-05T00:00")
    assert [each.state for each in await market.bars()] == [PARTIAL]
    market.now = at("2024-01-08T00:00:02")
    assert [each.state for each in await market.bars()] == [FINAL]


async def test_a_restored_symbol_without_trades_is_closed_by_the_wall_clock() -> None:
    market = Market()
    closed = make_bar(at("2024-01-02T00:00") // NS_PER_S, "A", "1d")
    opened = make_bar(at("2024-01-09T00:00") // NS_PER_S, "A", "1d", state=BarState.PARTIAL)
    market.harness.engine.restore([closed, opened])
    market.now = at("2025-01-01T00:00")
    assert [each.state for each in await market.bars()] == [FINAL, PARTIAL]
    # Its own time counts again with its next trade.
    market.trade(Trade(at("2024-01-09T12:00")))
    assert [each.state for each in await market.bars()] == [FINAL, PARTIAL]


async def test_the_sequence_is_that_of_the_daily_bars() -> None:
    market = Market()
    market.trade(Trade(at("2024-01-03T12:00")))
    market.trade(Trade(at("2024-01-08T12:00")))
    days = await market.read("1d")
    weeks = await market.read("1w")
    assert (weeks.sequence, weeks.epoch) == (days.sequence, 77)
    assert [bar.sequence for bar in weeks.bars] == [bar.sequence for bar in days.bars]


# Coverage and refused ticks


async def test_a_day_without_a_feed_makes_the_coverage_of_its_week_partial() -> None:
    market = Market()
    market.trade(Trade(at("2024-01-01T12:00")), Trade(at("2024-01-03T12:00")))
    market.trade(Trade(at("2024-01-15T12:00")))
    (week, _) = await market.bars()
    assert week.coverage == wire.COVERAGE_FULL
    tuesday = at("2024-01-02T00:00")
    market.feed = lambda start, _end: Coverage.NO_FEED if start == tuesday else Coverage.FULL
    (week, _) = await market.bars()
    assert week.coverage == wire.COVERAGE_PARTIAL


async def test_days_to_come_do_not_count_for_the_coverage() -> None:
    market = Market()
    market.trade(Trade(at("2024-01-01T12:00")), Trade(at("2024-01-03T12:00")))
    market.feed = lambda start, _end: (
        Coverage.NO_FEED if start > at("2024-01-03T00:00") else Coverage.FULL
    )
    (week,) = await market.bars()
    assert week.coverage == wire.COVERAGE_FULL


async def test_a_weekend_of_a_calendar_needs_no_feed() -> None:
    market = Market("XNYS")
    new_york = "America/New_York"
    for day in range(2, 6):
        market.trade(Trade(at(f"2024-01-0{day}T12:00", new_york)))
    market.trade(Trade(at("2024-01-08T12:00", new_york)))
    market.feed = lambda _start, _end: Coverage.NO_FEED
    (week, _) = await market.bars()
    # From Tuesday, since Monday is New Year's Day, to the pre-market of the next Monday.
    assert week.start == at("2024-01-02T04:00", new_york)
    assert week.end == at("2024-01-08T04:00", new_york)
    assert (week.trades, week.coverage, week.state) == (4, wire.COVERAGE_FULL, FINAL)


async def test_removed_days_make_the_coverage_partial() -> None:
    market = Market()
    market.trade(Trade(at("2024-01-03T12:00")), Trade(at("2024-01-10T12:00")))
    market.trade(Trade(at("2024-01-15T12:00")))
    market.kept_from = at("2024-01-08T00:00")
    first, second, _ = await market.bars()
    assert first.coverage == wire.COVERAGE_PARTIAL
    assert second.coverage == wire.COVERAGE_FULL


async def test_without_a_store_days_that_are_gone_make_the_coverage_partial() -> None:
    memory = MemoryOfBars()
    memory.bars = [make_bar(at("2024-01-03T00:00") // NS_PER_S, "A", "1d")]
    reader = BarReader(
        memory,
        None,
        intervals=INTERVALS,
        hours=lambda _symbol: rule_of("utc-day"),
        coverage=lambda _start, _end: Coverage.FULL,
        epoch=lambda: 1,
    )
    response = await reader.read(wire.BarsRequest(symbol="A", interval="1w"))
    assert [bar.coverage for bar in response.bars] == [wire.COVERAGE_PARTIAL]


async def test_refused_ticks_of_each_day_count() -> None:
    market = Market()
    market.trade(Trade(at("2024-01-03T12:00")), Trade(at("2024-01-05T12:00")))
    market.trade(Trade(at("2024-01-15T12:00")))
    refused = [at("2024-01-02T10:00"), at("2024-01-03T10:00"), at("2024-01-07T10:00")]
    market.refused = lambda _symbol, start, end: sum(start <= ts < end for ts in refused)
    market.store.refused = {at("2024-01-04T00:00"): 10, at("2024-01-09T00:00"): 100}
    first, filler, second = await market.filled(from_ns=0)
    assert (first.refused, filler.refused, second.refused) == (13, 100, 0)
    assert filler.filler == wire.FILLER_REFUSED


# Fillers


async def test_periods_without_a_trade_are_filled_and_periods_without_a_trading_day_not() -> None:
    market = Market("XNYS:regular")
    new_york = "America/New_York"
    market.trade(Trade(at("2024-03-26T12:00", new_york), 7.0))
    market.trade(Trade(at("2024-04-04T12:00", new_york), 8.0))
    # Good Friday, 29 March, and the weekend after it.
    plan_of_three = await market.filled("3d", from_ns=0)
    newest = await market.filled("3d")
    assert plan_of_three == newest
    assert [(bar.filler != 0, bar.close) for bar in plan_of_three] == [
        (False, 7.0), (True, 7.0), (True, 7.0), (False, 8.0),
    ]  # fmt: skip
    for bar in plan_of_three:
        local = datetime.fromtimestamp(bar.start // NS_PER_S, ZoneInfo(new_york))
        assert local.time() == time(9, 30)
        assert bar.phase == ""


# Calendars

# Of the S&P 500 future: on Monday evening and on Tuesday.
ES = (
    Trade(at("2025-03-10T22:00"), 5600.25, 10),
    Trade(at("2025-03-10T23:00"), 5650.0, 20),
    Trade(at("2025-03-11T00:00"), 5610.0, 30),
    Trade(at("2025-03-11T20:00"), 5590.0, 40),
)


@pytest.mark.parametrize("session", ["CMES", "day:America/Chicago@17:00"])
async def test_a_day_of_futures_begins_the_evening_before(session: str) -> None:
    market = Market(session)
    market.trade(*ES)
    (day,) = await market.bars("1d")
    # From Monday 17:00 in Chicago, a day after its clocks changed, to Tuesday 17:00.
    assert (day.start, day.end) == (at("2025-03-10T22:00"), at("2025-03-11T22:00"))
    assert (day.open, day.high, day.low, day.close) == (5600.25, 5650.0, 5590.0, 5590.0)
    assert (day.volume, day.trades) == (100, 4)
    (week,) = await market.bars("1w")
    # It began on Sunday evening.
    assert (week.start, week.end) == (at("2025-03-09T22:00"), at("2025-03-16T22:00"))
    assert (week.open, week.close, week.volume) == (5600.25, 5590.0, 100)


async def test_prices_below_zero_are_in_the_week() -> None:
    market = Market("CMES")
    # Crude oil on 20 April 2020, and on its evening, which is the 21st.
    days = {"2020-04-19T22:00": (1.5, -1.43, -40.32), "2020-04-20T22:00": (10.01,)}
    for start, prices in days.items():
        bar = make_bar(at(start) // NS_PER_S, "A", "1d", prices=prices)
        market.store.rows[bar.start, 0] = to_row(bar)
    (week,) = await market.bars("1w")
    assert (week.open, week.high, week.low, week.close) == (1.5, 10.01, -40.32, 10.01)
    assert week.vwap == pytest.approx((1.5 - 1.43 - 40.32 + 10.01) / 4)


async def test_volumes_of_different_scales_are_added_exactly() -> None:
    market = Market()
    # 0.467, 27 and 0.00000001.
    for day, (volume, decimals) in enumerate([(467, 3), (27, 0), (1, 8)]):
        bar = make_bar(at(f"2024-01-0{day + 1}T00:00") // NS_PER_S, "A", "1d")
        bar.candle.volume, bar.candle.volume_decimals = volume, decimals
        bar.candle.notional = 10.0 * volume
        market.store.rows[bar.start, 0] = to_row(bar)
    (week,) = await market.bars()
    assert (week.volume, week.volume_decimals) == (2_746_700_001, 8)
    assert week.vwap == pytest.approx(10.0, rel=1e-12)


async def test_a_week_of_foreign_exchange_begins_on_sunday_evening() -> None:
    market = Market("day:America/New_York@17:00")
    # The clocks change on Sunday, 10 March 2024, so the day of Monday is 24 hours in summer time,
    # and that of Sunday has 23.
    market.trade(Trade(at("2024-03-10T21:30"), 1.0), Trade(at("2024-03-15T20:59"), 2.0))
    market.trade(Trade(at("2024-03-10T20:30"), 3.0))
    before, week = await market.bars()
    assert (week.start, week.end) == (at("2024-03-10T21:00"), at("2024-03-17T21:00"))
    assert (before.start, before.end) == (at("2024-03-03T22:00"), at("2024-03-10T21:00"))
    assert (before.trades, week.trades) == (1, 2)
    days = await market.bars("1d")
    assert [(day.end - day.start) // HOUR_NS for day in days] == [23, 24, 24]


async def test_a_week_can_begin_on_another_day() -> None:
    market = Market(plan=PeriodPlan(week_start=6))
    market.trade(Trade(at("2024-01-07T12:00")))
    (week,) = await market.bars()
    assert week.start == at("2024-01-07T00:00")


# What is refused


async def test_an_unknown_interval_is_refused_with_the_known_ones() -> None:
    market = Market()
    with pytest.raises(InvalidInterval, match=r"1d, or of days, .* 3d 1w 1M 3M 1y"):
        await market.read("1h")


async def test_without_daily_bars_there_are_no_longer_ones() -> None:
    reader = BarReader(
        MemoryOfBars(),
        None,
        intervals={"1m": parse_interval("1m")},
        hours=lambda _symbol: rule_of("utc-day"),
        coverage=lambda _start, _end: Coverage.FULL,
        epoch=lambda: 1,
    )
    with pytest.raises(InvalidInterval, match=r"'1w' is not one of 1m$"):
        await reader.read(wire.BarsRequest(symbol="A", interval="1w"))


async def test_a_total_that_no_message_can_have_is_refused() -> None:
    market = Market()
    for n in range(3):
        bar = make_bar(86_400 * n, "A", "1d")
        bar.candle.volume = 2**62
        market.store.rows[bar.start, 0] = to_row(bar)
    with pytest.raises(InvalidBars, match="interval 1w has a total that is too large"):
        await market.read()
    # At another scale.
    bar.candle.volume, bar.candle.volume_decimals = 1, 18
    market.store.rows[bar.start, 0] = to_row(bar)
    with pytest.raises(InvalidBars, match="interval 1w has a total that is too large"):
        await market.read()
