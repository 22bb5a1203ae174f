"""The closing auction in the aggregate and in the bars."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from aggregator.bars.bar import Bar
from aggregator.sessions.calendars import load_rules
from marketdata.timestamps import NS_PER_S
from tests.doubles.bars import EngineHarness, Trade

LONDON = ZoneInfo("Europe/London")
CHICAGO = ZoneInfo("America/Chicago")


def at(text: str, zone: ZoneInfo = LONDON) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()) * NS_PER_S


# Tuesday, its closing auction, Wednesday.
TRADES = (
    Trade(at("2024-07-16 08:00"), 100.0, 10),
    Trade(at("2024-07-16 16:29"), 101.0, 10),
    Trade(at("2024-07-16 16:35"), 105.0, 5_000),
    Trade(at("2024-07-17 08:00"), 104.0, 7),
)


def harness_of(session: str) -> EngineHarness:
    return EngineHarness("1m,1d", rule=load_rules(session, "", anchored=False).rule_for("A"))


def numbers(bar: Bar) -> tuple[float, float, float, float, int, int]:
    candle = bar.candle
    return candle.open, candle.high, candle.low, candle.close, candle.volume, candle.trades


# The second order has a trade that is six minutes late.
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 1, 3)])
@pytest.mark.parametrize(
    ("session", "tuesday"),
    [
        # 10 + 10 + 5,000 = 5,020.
        ("XLON", (100.0, 105.0, 100.0, 105.0, 5_020, 3)),
        ("XLON:regular", (100.0, 105.0, 100.0, 105.0, 5_020, 3)),
        ("XLON:regular-noauctions", (100.0, 101.0, 100.0, 101.0, 20, 2)),
    ],
)
def test_the_closing_auction_counts_for_its_day(
    session: str, tuesday: tuple[object, ...], order: tuple[int, ...]
) -> None:
    harness = harness_of(session)
    for index in order:
        harness.trade(TRADES[index])
    newest = harness.newest()
    days = {key.start: numbers(bar) for key, bar in newest.items() if key.interval == "1d"}
    wednesday = (104.0, 104.0, 104.0, 104.0, 7, 1)
    assert days == {at("2024-07-16 08:00"): tuesday, at("2024-07-17 08:00"): wednesday}
    aggregate = harness.book.aggregate("A")
    assert aggregate is not None
    assert (aggregate.open, aggregate.close, aggregate.volume) == (104.0, 104.0, 7)


def test_the_aggregate_after_the_auction_is_that_of_the_whole_day() -> None:
    harness = harness_of("XLON")
    harness.trade(*TRADES[:3])
    aggregate = harness.book.aggregate("A")
    assert aggregate is not None
    assert (aggregate.open, aggregate.high, aggregate.low, aggregate.close) == (100, 105, 100, 105)
    assert (aggregate.volume, aggregate.session_start) == (5_020, at("2024-07-16 08:00"))


def test_the_minute_of_the_auction_is_a_bar_of_its_own() -> None:
    harness = harness_of("XLON")
    harness.trade(*TRADES)
    minutes = {
        key.start: (bar.phase, bar.candle.volume)
        for key, bar in harness.newest().items()
        if key.interval == "1m"
    }
    assert minutes == {
        at("2024-07-16 08:00"): ("regular", 10),
        at("2024-07-16 16:29"): ("regular", 10),
        at("2024-07-16 16:35"): ("post", 5_000),
        at("2024-07-17 08:00"): ("regular", 7),
    }


def test_a_weekend_of_a_market_that_trades_overnight_belongs_to_the_friday() -> None:
    harness = harness_of("CMES")
    harness.trade(
        Trade(at("2024-07-18 17:00", CHICAGO), 10.0, 1),
        Trade(at("2024-07-19 16:59", CHICAGO), 11.0, 2),
        # A correction on Saturday.
        Trade(at("2024-07-20 12:00", CHICAGO), 12.0, 4),
        Trade(at("2024-07-21 17:00", CHICAGO), 13.0, 8),
    )
    days = {key.start: numbers(b) for key, b in harness.newest().items() if key.interval == "1d"}
    assert days == {
        at("2024-07-18 17:00", CHICAGO): (10.0, 12.0, 10.0, 12.0, 7, 3),
        at("2024-07-21 17:00", CHICAGO): (13.0, 13.0, 13.0, 13.0, 8, 1),
    }
