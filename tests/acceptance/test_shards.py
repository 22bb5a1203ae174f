"""A real day gives the same numbers with one worker and with four, to the last revision."""

from __future__ import annotations

import csv
import gzip
from functools import cache
from itertools import islice
from pathlib import Path
from random import Random

from marketdata.wire import market_data_pb2 as wire
from tests.doubles.shard_runs import INTERVALS, Outcome, run_trades
from tests.doubles.trades import REAL_TRADES, needs_real_trades

pytestmark = needs_real_trades

TRADES = 40_000
BATCH = 700
REVISE_NS = 900 * 10**9


@cache
def batches() -> list[wire.TickBatch]:
    """Return some of the day, much of it late and some too late, as 40 symbols, with bad ticks."""
    random = Random(3)
    with gzip.open(REAL_TRADES, "rt", newline="") as file:
        rows = list(islice(csv.DictReader(file), TRADES))
    ticks = []
    for number, row in enumerate(rows):
        ts = int(row["exchange_timestamp"])
        # Most are late by less than the grace, some by more than a bar may be revised.
        delay = int(random.choice([0, 0, 0, 1e9, 3e9, 600e9, 1.2 * REVISE_NS]) * random.random())
        tick = wire.Tick(
            symbol=f"{row['symbol']}.{number % 10}",
            price=float(row["price"]),
            volume=int(row["volume"]),
            exchange_timestamp=ts,
        )
        if number % 1_000 == 7:
            tick.volume = 0
        if number % 1_000 == 8:
            tick.symbol = f"bad {number}"
        ticks.append((ts + delay, tick))
    ticks.sort(key=lambda each: each[0])
    return [
        wire.TickBatch(
            producer_id="day",
            first_sequence=first + 1,
            ticks=[tick for _, tick in ticks[first : first + BATCH]],
        )
        for first in range(0, len(ticks), BATCH)
    ]


async def test_one_and_four_workers_make_the_same_of_a_day(tmp_path: Path) -> None:
    one = await run_trades(1, batches(), tmp_path)
    four = await run_trades(4, batches(), tmp_path)

    assert four.acks == one.acks
    assert sum(len(ack.rejections) for ack in one.acks) == 2 * TRADES / 1_000
    assert four.symbols == one.symbols
    assert four.aggregates == one.aggregates
    assert four.bars.keys() == one.bars.keys()
    for topic, bars in one.bars.items():
        assert four.bars[topic] == bars, topic
    assert {bar.state for bars in one.bars.values() for bar in bars} == {
        wire.BAR_STATE_FINAL,
        wire.BAR_STATE_REVISED,
    }
    assert four.completed == one.completed
    assert four.history == one.history
    assert sum(
        bar.volume for (_, name), bars in one.history.items() for bar in bars if name == "1d"
    )
    assert four.rows == one.rows
    assert four.status == one.status
    assert one.status.bars_late > 0
    numbers = ("symbols", "accepted", "duplicates", "late", "bars_late", "rejected")
    assert [four.stopped[name] for name in numbers] == [one.stopped[name] for name in numbers]


async def test_cut_connections_change_no_number(tmp_path: Path) -> None:
    one = await run_trades(1, batches(), tmp_path)
    (tmp_path / "cut").mkdir()
    four = await run_trades(4, batches(), tmp_path / "cut", cuts=3)

    assert four.stopped["duplicates"] > 0
    assert four.aggregates == one.aggregates
    assert closed(four) == closed(one)
    assert four.completed == one.completed
    # Without the coverage: the feed was away.
    assert [row[:-2] for row in four.rows] == [row[:-2] for row in one.rows]
    # Each bar once.
    assert len({row[:4] for row in four.rows}) == len(four.rows)


def closed(outcome: Outcome) -> dict[tuple[str, str], list[wire.Bar]]:
    """Return the closed states without the coverage."""
    found = {}
    for topic, bars in outcome.bars.items():
        found[topic] = [wire.Bar.FromString(bar.SerializeToString()) for bar in bars]
        for bar in found[topic]:
            bar.ClearField("coverage")
    assert {interval for _, interval in found} <= set(INTERVALS)
    return found
