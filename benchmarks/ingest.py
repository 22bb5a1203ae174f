"""Measure how fast single-tick frames go from TCP through ingest into state and bars.

A run has three phases, each measured alone: the first tick of every symbol, which opens it; the
steady state within one second; and the same over several seconds of the ticks' own time. Every
symbol closes a bar at the end of such a second, and all connections are in step, as live ones are:
none sends a second's ticks before all ticks of the second before are in the state. Ticks are an
hour old, as in a replay; the latencies show the cost of a real clock.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc

from benchmarks.frames import END, Market, Ticks
from benchmarks.harness import CpuMeter, cpu_note
from benchmarks.latencies import Spread
from benchmarks.limits import MachineLimits
from benchmarks.pipeline import Backend, check_bars, check_states, run_backend
from benchmarks.report import Line, Outcome
from marketdata.timestamps import NS_PER_S
from marketdata.wire import market_data_pb2 as wire

TIMEOUT_S = 180.0
# Ticks in a second of their own time: the rate that is promised for live ones.
LIVE_PER_S = 3_000_000
LATE = 0.01
# Symbols whose bars are summed up; one request each.
BARS_CHECKED = 1_000
BOUNDARY_SYMBOLS = 5_000


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    # In one pass of the steady state, and how many passes.
    ticks: int
    passes: int
    # Seconds of the ticks' own time in the last phase.
    seconds: int
    per_s: int
    # Symbols, connections, share of late ticks.
    cases: tuple[tuple[int, int, float], ...]


FULL = Plan(
    ticks=10_000_000,
    passes=2,
    seconds=3,
    per_s=LIVE_PER_S,
    cases=tuple(
        (symbols, connections, late)
        for symbols in (500, 10, 50_000)
        for connections in (1, 10, 100)
        for late in (0.0, LATE)
    ),
)
QUICK = Plan(
    ticks=200_000,
    passes=1,
    seconds=2,
    per_s=100_000,
    cases=((500, 1, 0.0), (500, 10, LATE), (5_000, 1, 0.0)),
)


class EndOfRun:
    """Wait until every connection's last tick is in the aggregator's state.

    Those ticks share one symbol, and its state counts them. No other symbol is watched, so this
    costs the aggregator at most one state per batch.
    """

    def __init__(self, backend: Backend) -> None:
        self._call = backend.stub.Watch()
        self._seen = 0

    async def start(self) -> None:
        """Begin to watch."""
        await self._call.write(wire.WatchRequest(add=[END]))
        await self._call.initial_metadata()

    async def wait(self, ends: int) -> None:
        """Return when so many have come."""
        while self._seen < ends:
            batch = await self._call.read()
            assert isinstance(batch, wire.UpdateBatch)
            for state in batch.updates:
                self._seen = state.trades

    async def stop(self) -> None:
        """Watch no more."""
        self._call.cancel()
        with suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
            await self._call.read()


class Producer:
    """Send prepared frames over all connections at once, each in a thread that only sends."""

    def __init__(self, backend: Backend, market: Market, end: EndOfRun) -> None:
        self._market = market
        self._end = end
        self._ends = 0
        self._services = {"ingest": backend.ingest, "aggregator": backend.aggregator}
        self._pool = ThreadPoolExecutor(market.connections)
        address = ("127.0.0.1", backend.ingest.port)
        self._socks = [socket.create_connection(address) for _ in range(market.connections)]

    async def send(self, parts: Sequence[Ticks]) -> dict[str, Any]:
        """Send the ticks of each connection; return the cost until all are in the state."""
        frames = [self._market.writer.write(part) for part in parts]
        loop = asyncio.get_running_loop()
        meter = CpuMeter(**self._services)
        sending = [
            loop.run_in_executor(self._pool, sock.sendall, data)
            for sock, data in zip(self._socks, frames, strict=True)
        ]
        self._ends += len(parts)
        await self._end.wait(self._ends)
        seconds, cpu_s = meter.stop()
        await asyncio.gather(*sending)
        ticks, size = sum(map(len, parts)), sum(map(len, frames))
        return {
            "ticks": ticks,
            "bytes": size,
            "seconds": seconds,
            "ticks_per_s": ticks / seconds,
            "cpu_s": cpu_s,
        }

    def stop(self) -> None:
        """Disconnect."""
        for sock in self._socks:
            sock.close()
        self._pool.shutdown()


async def measure_case(plan: Plan, symbols: int, connections: int, late: float) -> dict[str, Any]:
    """Measure one case with fresh services, and check the state of every symbol.

    Raises:
        WrongResult: a tick is missing or was counted twice, or the bars are not those ticks.
    """
    market = Market(symbols, connections)
    # A whole hour, so that no day ends on the way.
    began_ns = (time.time_ns() // NS_PER_S // 3600 - 1) * 3600 * NS_PER_S
    start_ns = began_ns + NS_PER_S
    async with run_backend() as backend, asyncio.timeout(TIMEOUT_S):
        end = EndOfRun(backend)
        await end.start()
        producer = Producer(backend, market, end)
        try:
            opening = await producer.send(market.opening(start_ns))
            steady: list[dict[str, Any]] = []
            # They share the second, with room for the ticks of other connections between two.
            share_ns = NS_PER_S // (plan.passes + 2)
            per_s = plan.ticks * NS_PER_S // share_ns
            # The first one is short, and warms up.
            for number, ticks in enumerate((plan.ticks // 10, *[plan.ticks] * plan.passes)):
                at_ns = start_ns + number * share_ns + NS_PER_S // 100
                steady.append(await producer.send(market.ticks(ticks, at_ns, per_s, late)))
            del steady[0]
            seconds = add_up(
                [
                    await producer.send(
                        market.ticks(plan.per_s, start_ns + number * NS_PER_S, plan.per_s, late)
                    )
                    for number in range(1, plan.seconds + 1)
                ]
            )
            await check_states(backend.stub, market.totals)
            checked = await check_bars(backend.stub, market.totals, began_ns, BARS_CHECKED)
        finally:
            producer.stop()
            await end.stop()
        memory = backend.aggregator.memory()
    rate = Spread(tuple(each["ticks_per_s"] for each in steady))
    # The aggregator's CPU for the seconds, less that for as many ticks of the steady state.
    per_tick_s = sum(each["cpu_s"]["aggregator"] for each in steady) / plan.passes / plan.ticks
    beyond_s = seconds["cpu_s"]["aggregator"] - seconds["ticks"] * per_tick_s
    return {
        "symbols": symbols,
        "connections": connections,
        "late": late,
        "opening": opening,
        "opening_us_per_symbol": opening["seconds"] / symbols * 1e6,
        "steady": steady,
        "steady_ticks_per_s": rate.to_dict(),
        "seconds": seconds,
        "second_us_per_symbol": beyond_s / plan.seconds / symbols * 1e6,
        "bars_checked": checked,
        "aggregator_rss_mb": memory / 1e6,
    }


def add_up(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the sum of several sendings."""
    ticks, size, seconds = (sum(p[name] for p in parts) for name in ("ticks", "bytes", "seconds"))
    cpu_s = {name: sum(part["cpu_s"][name] for part in parts) for name in parts[0]["cpu_s"]}
    return {
        "ticks": ticks,
        "bytes": size,
        "seconds": seconds,
        "ticks_per_s": ticks / seconds,
        "cpu_s": cpu_s,
        "own_s": len(parts),
    }


def lines_of(case: dict[str, Any], limits: MachineLimits, message_per_s: float) -> list[Line]:
    """Return the lines of a case."""
    symbols, connections = case["symbols"], case["connections"]
    order = f"{case['late']:.0%} late" if case["late"] else "in order"
    name = f"{symbols:,} symbols, {connections} connection{'s' * (connections > 1)}, {order}"
    key = f"ingest/{symbols}/{connections}/{'late' if case['late'] else 'ordered'}"
    steady, seconds = case["steady"][-1], case["seconds"]
    limit = limits.loopback_bytes_per_s / (seconds["bytes"] / seconds["ticks"])
    lines = []
    for suffix, phase, rate, when in (
        ("seconds", seconds, seconds["ticks_per_s"], f"over {seconds['own_s']:g} s of their time"),
        ("steady", steady, case["steady_ticks_per_s"]["median"], "within one second"),
    ):
        what = f"TCP to state and bars: {name}, {when}"
        compared = (limit, "loopback", message_per_s, cpu_note(phase["cpu_s"], phase["seconds"]))
        lines.append(Line(f"{key}/{suffix}", what, rate, "ticks/s", *compared))
    if not case["late"] and connections == 1:
        opening, boundary = case["opening_us_per_symbol"], case["second_us_per_symbol"]
        what = f"first tick of each of {symbols:,} symbols"
        memory = f"the aggregator has {case['aggregator_rss_mb']:,.0f} MB in the end"
        lines.append(Line(f"{key}/opening", what, opening, "us", note=f"each, once; {memory}"))
        what = f"a second's end with {symbols:,} symbols"
        # With fewer symbols the cost of the ticks hides it.
        if symbols >= BOUNDARY_SYMBOLS:
            note = "of the aggregator's CPU per symbol that traded, with all its bars"
            lines.append(Line(f"{key}/boundary", what, boundary, "us", note=note))
    return lines


async def measure(limits: MachineLimits, message_per_s: float, *, full: bool) -> Outcome:
    """Measure every case."""
    plan = FULL if full else QUICK
    lines: list[Line] = []
    cases = []
    for symbols, connections, late in plan.cases:
        case = await measure_case(plan, symbols, connections, late)
        cases.append(case)
        lines += lines_of(case, limits, message_per_s)
    return Outcome(lines, {"cases": cases})
