"""The made-up trading day: the same seed gives the same trades, and they look like a market's."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime
from itertools import pairwise
from random import Random

import pytest

from fakeclient.day import SECONDS, ZONE, last_weekday, trading_day
from fakeclient.ticks import Row
from marketdata.timestamps import NS_PER_S

DAY = date(2026, 11, 27)
SYMBOLS = ("AAPL", "MSFT", "GOOGL")
OPEN_NS = int(datetime(2026, 11, 27, 9, 30, tzinfo=ZONE).timestamp()) * NS_PER_S
HALF_HOUR = 1_800


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return trading_day(SYMBOLS, DAY, 60_000, Random(1))


def second_of(row: Row) -> float:
    return (row[3] - OPEN_NS) / NS_PER_S


def test_the_same_seed_gives_the_same_trades(rows: list[Row]) -> None:
    assert trading_day(SYMBOLS, DAY, 60_000, Random(1)) == rows
    assert trading_day(SYMBOLS, DAY, 60_000, Random(2)) != rows


def test_there_are_as_many_trades_as_asked_for_in_the_order_of_time(rows: list[Row]) -> None:
    assert len(rows) == pytest.approx(60_000, abs=len(SYMBOLS))
    assert rows == sorted(rows, key=lambda row: row[3])


def test_the_day_is_that_of_new_york_in_summer_too() -> None:
    summer = trading_day(("AAPL",), date(2026, 7, 1), 10, Random(1))
    first = datetime.fromtimestamp(summer[0][3] / NS_PER_S, ZONE)
    assert (first.hour, first.minute) == (9, 30)


def test_auctions_are_the_first_and_the_last_trade_of_each_symbol_and_large(
    rows: list[Row],
) -> None:
    for symbol in SYMBOLS:
        own = [row for row in rows if row[0] == symbol]
        volume = sum(row[2] for row in own)
        assert 0 < second_of(own[0]) < 2
        assert own[0][2] == pytest.approx(0.015 * volume, rel=0.01)
        assert SECONDS < second_of(own[-1]) < SECONDS + 2
        assert own[-1][2] == pytest.approx(0.09 * volume, rel=0.01)
        # Nothing trades between the close and the closing auction.
        assert second_of(own[-2]) < SECONDS


def test_most_is_traded_after_the_opening_and_before_the_close_and_least_at_lunch(
    rows: list[Row],
) -> None:
    halves = Counter(int(second_of(row) // HALF_HOUR) for row in rows)
    counts = [halves[half] for half in range(SECONDS // HALF_HOUR)]
    # 12:30 to 13:00.
    lunch = 6
    assert counts[0] > 2 * counts[lunch]
    assert counts[-1] > 2 * counts[lunch]
    assert min(counts[1:4]) > counts[lunch]
    assert min(counts[10:]) > counts[lunch]


def test_there_are_bursts(rows: list[Row]) -> None:
    own = Counter(int(second_of(row)) // 10 for row in rows if row[0] == "AAPL")
    # Ten seconds around noon, and the busiest ten between the first and the last half hour.
    usual = sum(own[slot] for slot in range(900, 1_080)) / 180
    busiest = max(own[slot] for slot in range(180, 2_160))
    assert busiest > 4 * usual


def test_prices_are_whole_cents_that_move_in_small_steps_and_stay_near(rows: list[Row]) -> None:
    for symbol in SYMBOLS:
        prices = [row[1] for row in rows if row[0] == symbol]
        assert all(price > 0 and price == round(price, 2) for price in prices)
        assert max(prices) < 1.08 * min(prices)
        # Most trades are at the price before or a cent or two from it.
        steps = [abs(b - a) for a, b in pairwise(prices)]
        assert sorted(steps)[len(steps) // 2] <= 0.001 * prices[0]


def test_sizes_are_odd_lots_round_lots_and_a_few_blocks(rows: list[Row]) -> None:
    sizes = [row[2] for row in rows]
    assert min(sizes) >= 1
    assert 0.4 < sum(size < 100 for size in sizes) / len(sizes) < 0.6
    assert 0.4 < sum(size % 100 == 0 for size in sizes) / len(sizes) < 0.6
    assert 0.001 < sum(size >= 2_000 for size in sizes) / len(sizes) < 0.02


def test_every_symbol_has_both_auctions_and_a_trade_however_few_are_asked_for() -> None:
    symbols = tuple(f"S{number}" for number in range(50))
    counts = Counter(row[0] for row in trading_day(symbols, DAY, 1, Random(1)))
    assert counts == dict.fromkeys(symbols, 3)


@pytest.mark.parametrize(
    ("today", "day"),
    [
        (date(2026, 11, 30), date(2026, 11, 27)),
        (date(2026, 11, 29), date(2026, 11, 27)),
        (date(2026, 11, 27), date(2026, 11, 26)),
    ],
)
def test_the_usual_day_is_the_last_weekday_before_today(today: date, day: date) -> None:
    assert last_weekday(today) == day
