"""The bars of a real day, computed from its file by other means than ours."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from random import Random

import polars as pl

from marketdata.intervals import parse_interval
from marketdata.timestamps import NS_PER_S
from tests.doubles.trades import REAL_TRADES

SYMBOLS = ("SPY", "BAC", "AIG", "IBM")
INTERVALS = ("1s", "1m", "5m", "15m", "1h", "1d")
MINUTES = {"SPY": 828, "BAC": 595, "AIG": 434, "IBM": 453}
COLUMNS = ("symbol", "price", "volume", "exchange_timestamp")


@cache
def day() -> pl.DataFrame:
    """Return the trades in the order of the file."""
    return pl.read_csv(REAL_TRADES)


@cache
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


def delayed(max_delay_s: float) -> list[tuple[str, float, int, int]]:
    """Return the trades, each up to so late; those of one symbol and time keep their order."""
    random = Random(7)
    rows = day().select(COLUMNS).rows()
    delays: dict[tuple[str, int], int] = {}
    arrivals = []
    for symbol, _, _, ts in rows:
        if (symbol, ts) not in delays:
            delays[symbol, ts] = random.randint(0, int(max_delay_s * NS_PER_S))
        arrivals.append(ts + delays[symbol, ts])
    # Stable.
    return [rows[i] for i in sorted(range(len(rows)), key=arrivals.__getitem__)]


def write_delayed(path: Path, max_delay_s: float) -> None:
    """Write :func:`delayed` as a file that can be replayed."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *delayed(max_delay_s)])
