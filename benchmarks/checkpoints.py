"""Measure how long the state of an aggregator takes to bytes and back, against a copy of them."""

from __future__ import annotations

import time
from typing import Any

from aggregator.checkpoint.state import dump, load
from aggregator.core import Core
from aggregator.settings import AggregatorSettings
from benchmarks.frames import Market
from benchmarks.harness import WrongResult
from benchmarks.kernels import run_ingest
from benchmarks.latencies import Spread
from benchmarks.report import Line, Outcome
from marketdata.timestamps import NS_PER_S

# Ticks of each symbol, a minute apart: each closes a 1s and a 1m bar, some of them a longer one.
MINUTES = 6


def _make_core(now_ns: int) -> Core:
    return Core(AggregatorSettings(store="off"), lambda: now_ns, lambda _works: None)


def _fill(core: Core, symbols: int, now_ns: int) -> None:
    market, start_ns = Market(symbols, 1), now_ns - MINUTES * 60 * NS_PER_S
    for minute in range(MINUTES):
        (ticks,) = market.opening(start_ns + minute * 60 * NS_PER_S)
        for batch in run_ingest(market.writer.write(ticks), now_ns).batches:
            data = batch.replace(b"benchmark", b"bench%04d" % minute, 1)
            core.market.publish_batch(data, now_ns)


def measure_size(symbols: int, passes: int) -> dict[str, Any]:
    """Dump and load the state of so many symbols with six intervals; some bars are closed.

    Raises:
        WrongResult: what was loaded is not what was dumped.
    """
    now_ns = time.time_ns() // NS_PER_S * NS_PER_S
    core = _make_core(now_ns)
    _fill(core, symbols, now_ns)
    dumps, loads, copies, content = [], [], [], b""
    for _ in range(passes):
        began = time.thread_time()
        parts = list(dump(core.state))
        dumped = time.thread_time()
        content = b"".join(parts)
        copied = time.thread_time()
        restored = _make_core(now_ns)
        loading = time.thread_time()
        load(content, restored.state)
        loads.append((time.thread_time() - loading) * 1e3)
        dumps.append((dumped - began) * 1e3)
        copies.append((copied - dumped) * 1e3)
    if b"".join(dump(restored.state)) != content:
        raise WrongResult("the state that was loaded is not the one that was dumped")
    return {
        "symbols": symbols,
        "bytes": len(content),
        "closed_bars": int(core.market.book.engine.table.tables.state["closed"][0]),
        "dump_ms": Spread(tuple(dumps)).to_dict(),
        "load_ms": Spread(tuple(loads)).to_dict(),
        "copy_ms": Spread(tuple(copies)).to_dict(),
    }


async def measure(*, full: bool) -> Outcome:
    """Measure both ways."""
    found = measure_size(50_000 if full else 500, 5 if full else 2)
    symbols, copy_ms = found["symbols"], found["copy_ms"]["median"]
    note = f"{found['bytes'] / 1e6:.0f} MB, {found['closed_bars']:,} closed bars"
    lines = [
        Line(
            f"checkpoint/{name}/{symbols}",
            f"{what}, {symbols:,} symbols, 6 intervals",
            found[f"{name}_ms"]["median"],
            "ms",
            copy_ms,
            "memcpy",
            note=note,
        )
        for name, what in (("dump", "state to checkpoint"), ("load", "checkpoint to state"))
    ]
    return Outcome(lines, found)
