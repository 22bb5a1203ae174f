"""Measure reads of bars from a large store.

It fills an SQLite file, checks that a read uses the key, and measures reads of 1,000 consecutive
bars of random symbols and times, from the request to the encoded answer.
``python -m benchmarks.bars_store`` does so with 10 million bars, or with another, empty, database.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from aggregator.app import COLLECTIONS
from aggregator.bars.bar import Bar, Coverage
from aggregator.history.reader import BarReader
from aggregator.sessions.sessions import UtcDay
from aggregator.store.address import parse_store
from aggregator.store.database import Database
from aggregator.store.queries import Range, select_range
from aggregator.store.rows import Row
from aggregator.store.store import BarStore
from benchmarks.harness import WrongResult
from benchmarks.latencies import Latencies
from benchmarks.report import Line, Outcome, rows_of, text_table
from marketdata.intervals import parse_interval
from marketdata.runtime import collect_rarely
from marketdata.timestamps import NS_PER_S
from marketdata.wire import market_data_pb2 as wire

START_NS = 1_700_000_000 * NS_PER_S
READ_BARS = 1_000
BATCH_ROWS = 50_000
INTERVAL = parse_interval("1s")


class NoMemory:
    """The memory of an aggregator that has just started."""

    def sequence(self, _symbol: str, _interval: str) -> int:
        """Return 0."""
        return 0

    def open_and_recent(self, _symbol: str, _interval: str, _from: int, _to: int) -> list[Bar]:
        """Return nothing."""
        return []


def names(count: int) -> list[str]:
    """Return the symbols."""
    return [f"S{n:04}" for n in range(count)]


def make_rows(symbol: str, first: int, count: int) -> Iterator[Row]:
    """Return a second's bar each, without a gap."""
    for n in range(first, first + count):
        start = START_NS + n * NS_PER_S
        price = 100.0 + 10.0 * math.sin(n / 1_000)
        last = start + NS_PER_S - 1
        numbers = (price, price + 0.25, price - 0.25, price + 0.125, 1_000 + n % 97, 0, 10)
        sums = (price * (1_000 + n % 97), 0.0)
        yield (
            *(symbol, INTERVAL.name, start, 0, start + NS_PER_S, *numbers, *sums),
            *(start, n * 10, last, n * 10 + 9, 3, 0, Coverage.FULL.value, 0, ""),
        )


async def build(database: Database, bars: int, symbols: int) -> float:
    """Fill an empty database and return how many s that took."""
    began = time.perf_counter()
    await database.migrate()
    each = bars // symbols
    # In the order of the key, which is how a table of that order grows fastest.
    for symbol in names(symbols):
        for first in range(0, each, BATCH_ROWS):
            await database.save_bars(list(make_rows(symbol, first, min(BATCH_ROWS, each - first))))
    return time.perf_counter() - began


def size_of(folder: Path) -> int:
    """Return how many bytes the files there take."""
    return sum(path.stat().st_size for path in folder.iterdir())


async def check_plan(database: Database) -> str:
    """Return the plan of a read, which must use the key."""
    asked = Range("S0001", INTERVAL.name, START_NS, 2**62, READ_BARS)
    plan = await database.explain(select_range(asked))
    expected = "USING PRIMARY KEY (symbol=? AND interval=?" if database.is_sqlite else "bars_pkey"
    if expected not in plan or "TEMP B-TREE" in plan:
        raise WrongResult(f"a read does not use the key: {plan}")
    return plan


async def measure_reads(database: Database, bars: int, symbols: int, reads: int) -> Latencies:
    """Return how long each read took."""
    store = BarStore(
        database, max_waiting=1, retention={}, tell=lambda _health: None, random=Random(1)
    )
    await store.start()
    # As the aggregator does.
    collect_rarely(COLLECTIONS)
    reader = BarReader(
        NoMemory(),
        store,
        intervals={INTERVAL.name: INTERVAL},
        hours=lambda _symbol: UtcDay(),
        coverage=lambda _start, _end: Coverage.FULL,
        epoch=lambda: 1,
    )
    random = Random(2)
    each = bars // symbols
    taken: list[float] = []
    try:
        for _ in range(reads):
            first = START_NS + random.randrange(max(each - READ_BARS, 1)) * NS_PER_S
            request = wire.BarsRequest(
                symbol=random.choice(names(symbols)), interval=INTERVAL.name, limit=READ_BARS
            )
            setattr(request, "from", first)
            began = time.perf_counter()
            response = await reader.read(request)
            encoded = response.SerializeToString()
            taken.append(time.perf_counter() - began)
            starts = [bar.start for bar in response.bars]
            wanted = [first + n * NS_PER_S for n in range(min(READ_BARS, each))]
            if starts != wanted or not encoded:
                raise WrongResult(f"{len(starts)} bars read, {len(wanted)} are there")
    finally:
        await store.stop(1.0)
    return Latencies(tuple(taken))


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    bars: int = 2_000_000
    symbols: int = 500
    reads: int = 1_000


FULL = Plan()
QUICK = Plan(bars=20_000, symbols=10, reads=20)


async def measure(plan: Plan, store: str = "", place: Path | None = None) -> Outcome:
    """Fill a store and read from it."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        url = parse_store(store or f"sqlite:///{folder}/bars.db")
        if url is None:
            raise WrongResult("there is nothing to measure")
        database = Database(url)
        build_s = await build(database, plan.bars, plan.symbols)
        path = await check_plan(database)
        size = await asyncio.to_thread(size_of, Path(folder))
        latencies = await measure_reads(database, plan.bars, plan.symbols, plan.reads)
        await database.close()
    note = f"file of {size / 1e6:,.0f} MB, built in {build_s:.0f} s"
    what = f"read {READ_BARS:,} bars of {plan.bars:,} in SQLite, encoded"
    lines = [
        Line("store/p50", f"{what}: p50", latencies.percentile(50) * 1000, "ms", note=note),
        Line("store/p99", f"{what}: p99", latencies.percentile(99) * 1000, "ms"),
    ]
    details: dict[str, Any] = {"size": size, "plan": path, "read": latencies.to_dict()}
    return Outcome(lines, details)


def main() -> None:
    """Run the benchmark alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=int, default=10_000_000)
    parser.add_argument("--symbols", type=int, default=FULL.symbols)
    parser.add_argument("--reads", type=int, default=FULL.reads)
    parser.add_argument("--store", default="", help="an empty database; without it an SQLite file")
    parser.add_argument("--folder", type=Path, help="where that file is made")
    options = parser.parse_args()
    plan = Plan(options.bars, options.symbols, options.reads)
    outcome = asyncio.run(measure(plan, options.store, options.folder))
    print(text_table(rows_of(outcome.lines)))
    print(f"plan: {outcome.details['plan']}")


if __name__ == "__main__":
    main()
