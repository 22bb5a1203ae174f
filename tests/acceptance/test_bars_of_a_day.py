"""The bars of a real day equal an independent computation, in whatever order its trades come."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import islice
from random import Random

import polars as pl
import pytest

from aggregator.bars.bar import BarKey, BarState
from marketdata.intervals import parse_interval
from marketdata.timestamps import NS_PER_S
from tests.doubles.bars import Desk, Trade
from tests.doubles.trades import REAL_TRADES, needs_real_trades

pytestmark = needs_real_trades

INTERVALS = ("1s", "1m", "5m", "15m", "1h", "1d")
GRACE_S, REVISE_S = 2, 900
BATCH = 1_000


@cache
def day() -> pl.DataFrame:
    """Return the trades in the order of the file."""
    return pl.read_csv(REAL_TRADES)


def computed(interval: str) -> dict[tuple[str, int], tuple[float | int, ...]]:
    """Return open, high, low, close, volume, trades and vwap by symbol and start."""
    size = parse_interval(interval).nominal_ns
    money = pl.col("price") * pl.col("volume")
    bars = (
        day()
        .with_columns(start=pl.col("exchange_timestamp") // size * size)
        .sort("exchange_timestamp", maintain_order=True)
        .group_by("symbol", "start", maintain_order=True)
        .agg(
            open=pl.col("price").first(),
            high=pl.col("price").max(),
            low=pl.col("price").min(),
            close=pl.col("price").last(),
            volume=pl.col("volume").sum(),
            trades=pl.len(),
            vwap=money.sum() / pl.col("volume").sum(),
        )
    )
    return {(row[0], row[1]): row[2:] for row in bars.iter_rows()}


def trades(max_delay_s: float) -> Iterator[Trade]:
    """Return the day's trades, each up to so late; those of one time keep their order."""
    random = Random(7)
    rows = day().select("exchange_timestamp", "price", "volume", "symbol").rows()
    delays: dict[tuple[str, int], int] = {}
    arrivals = []
    for row in rows:
        moment = (row[3], row[0])
        if moment not in delays:
            delays[moment] = random.randint(0, int(max_delay_s * NS_PER_S))
        arrivals.append(row[0] + delays[moment])
    # Stable.
    order = sorted(range(len(rows)), key=arrivals.__getitem__)
    return (Trade(*rows[i]) for i in order)


@pytest.mark.parametrize("max_delay_s", [0, GRACE_S, REVISE_S])
def test_every_bar_of_every_interval_is_right(max_delay_s: int) -> None:
    desk = Desk(",".join(INTERVALS), grace_s=GRACE_S, revise_s=REVISE_S)
    source = trades(max_delay_s)
    ranks: dict[BarKey, tuple[int, int]] = {}
    while batch := list(islice(source, BATCH)):
        desk.trade(*batch)
        for bar in desk.published:
            assert bar.rank > ranks.get(bar.key, (0, 0)) or bar.state is BarState.EARLY
            ranks[bar.key] = bar.rank
        desk.published.clear()
    assert desk.engine.counts.bars_late == 0
    assert any(bar.state is BarState.REVISED for bar in desk.closed) == (max_delay_s > GRACE_S)
    for interval in INTERVALS:
        ends = [end for name, end in desk.completed if name == interval]
        assert ends == sorted(set(ends))
    newest = desk.newest()
    for interval in INTERVALS:
        want = computed(interval)
        found = {(k.symbol, k.start): bar for k, bar in newest.items() if k.interval == interval}
        assert found.keys() == want.keys()
        for key, bar in found.items():
            c = bar.candle
            got = (c.open, c.high, c.low, c.close, c.volume, c.trades)
            assert got == want[key][:6]
            assert c.vwap == pytest.approx(want[key][6], rel=1e-12)
    minutes = [key.symbol for key in newest if key.interval == "1m"]
    counts = {symbol: minutes.count(symbol) for symbol in ("SPY", "BAC", "AIG", "IBM")}
    assert counts == {"SPY": 828, "BAC": 595, "AIG": 434, "IBM": 453}
