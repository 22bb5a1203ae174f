"""Make up the trades of one day at a stock exchange, with the shape that real days have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from itertools import accumulate
from math import exp, sqrt
from random import Random
from zoneinfo import ZoneInfo

from fakeclient.ticks import Row
from marketdata.timestamps import NS_PER_S

ZONE = ZoneInfo("America/New_York")
OPEN, CLOSE = time(9, 30), time(16)
SECONDS = 23_400

# Parts of a day's volume, as for large shares in New York.
OPENING_SHARE = 0.015
CLOSING_SHARE = 0.09
# The standard deviation of a day's move, and that of the step from one close to the next opening.
DAY_MOVE = 0.013
GAP_MOVE = 0.005
# Bursts, as after news: how many a symbol has, how much faster it then trades, and how soon that
# fades.
BURSTS = 8
BURST_FACTOR = 12.0
BURST_FADES_S = 40.0
# Trading in the n-th symbol against that in the first is as 1 to n ** 0.7.
RANK_EXPONENT = 0.7
# The auctions end at a random moment of so many seconds; trading goes on behind the opening.
AUCTION_SPREAD_S = 1.5


def trading_day(symbols: Sequence[str], day: date, trades: int, chance: Random) -> list[Row]:
    """Return the trades of ``symbols`` on ``day`` in the order of their times.

    Each symbol has an opening auction, trading from 09:30 to 16:00 in New York, and a closing
    auction. The same arguments give the same trades.

    Args:
        symbols: the names; those in front trade more.
        day: the date in New York.
        trades: how many there are of all symbols together, about; each symbol has 3 at least.
        chance: the source of all randomness.
    """
    open_ns = round(datetime.combine(day, OPEN, ZONE).timestamp()) * NS_PER_S
    weights = [(rank + 1) ** -RANK_EXPONENT for rank in range(len(symbols))]
    rows: list[Row] = []
    for symbol, weight in zip(symbols, weights, strict=True):
        count = max(3, round(trades * weight / sum(weights)))
        rows += _symbol_day(symbol, open_ns, count, Random(chance.random()))
    rows.sort(key=lambda row: row[3])
    return rows


def last_weekday(today: date) -> date:
    """Return the last day from Monday to Friday before ``today``."""
    day = today - timedelta(days=1)
    while day.weekday() > 4:
        day -= timedelta(days=1)
    return day


def usual_activity(second: int) -> float:
    """Return how busy a second of the day is; 1 is an hour in the middle of the afternoon.

    Much is traded after the opening and before the close, little at lunch.
    """
    morning = 2.5 * exp(-second / 1_500)
    evening = 2.0 * exp(-(SECONDS - second) / 1_200)
    from_lunch_s = second - 3 * 3_600 - 900  # 12:45
    lunch = 0.45 * exp(-((from_lunch_s / 2_700) ** 2))
    return 1 + morning + evening - lunch


def _symbol_day(symbol: str, open_ns: int, count: int, chance: Random) -> Iterator[Row]:
    first = chance.uniform(20, 500)
    price = first * (1 + chance.gauss(0, GAP_MOVE))
    sizes = [_size(chance) for _ in range(count - 2)]
    # All that is not in the auctions.
    continuous = sum(sizes) / (1 - OPENING_SHARE - CLOSING_SHARE)
    opened_ns = open_ns + int(chance.uniform(0.1, AUCTION_SPREAD_S) * NS_PER_S)
    yield symbol, _cents(price), max(1, int(continuous * OPENING_SHARE)), opened_ns

    step = first * DAY_MOVE / sqrt(count)
    for ts_ns, size in zip(_times(opened_ns, open_ns, len(sizes), chance), sizes, strict=True):
        price = max(0.02, price + chance.gauss(0, step))
        # A buyer pays the cent above the value, a seller gets the one below.
        side = 0.005 if chance.random() < 0.5 else -0.005
        yield symbol, _cents(price + side), size, ts_ns

    closed_ns = open_ns + SECONDS * NS_PER_S
    closed_ns += int(chance.uniform(0.05, AUCTION_SPREAD_S) * NS_PER_S)
    yield symbol, _cents(price), max(1, int(continuous * CLOSING_SHARE)), closed_ns


def _times(opened_ns: int, open_ns: int, count: int, chance: Random) -> list[int]:
    activity = [usual_activity(second) for second in range(SECONDS)]
    for _ in range(BURSTS):
        began = chance.randrange(SECONDS)
        for second in range(began, min(SECONDS, began + 300)):
            activity[second] *= 1 + BURST_FACTOR * exp((began - second) / BURST_FADES_S)
    seconds = chance.choices(range(SECONDS), cum_weights=list(accumulate(activity)), k=count)
    times = (open_ns + second * NS_PER_S + chance.randrange(NS_PER_S) for second in seconds)
    return sorted(max(opened_ns + 1, ts_ns) for ts_ns in times)


def _size(chance: Random) -> int:
    # Half are odd lots, most others a few round lots, and one in 200 is a block.
    kind = chance.random()
    if kind < 0.5:
        return 1 + int(99 * chance.random())
    if kind < 0.995:
        return 100 * max(1, int(chance.expovariate(0.6)))
    return 1_000 * chance.randint(2, 10)


def _cents(price: float) -> float:
    return max(1, round(price * 100)) / 100
