"""Measure one gRPC message per tick, and per request, as in the original, in the same run.

The client is Python too, and shares the machine like every other load.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from benchmarks.frames import END, Market, Ticks
from benchmarks.harness import CpuMeter, WrongResult
from benchmarks.latencies import Latencies
from benchmarks.pipeline import Backend, check_states, run_backend
from benchmarks.report import Line, Outcome
from marketdata.timestamps import NS_PER_S
from marketdata.wire import market_data_pb2 as wire

TIMEOUT_S = 120.0
SYMBOLS = 500
RATE = 1_000


@dataclass(frozen=True, slots=True)
class Messages:
    """The results of one message per tick, or per request."""

    # StreamTicks, into the state.
    ticks_per_s: float
    # StreamAggregates, out to one client, per second of the aggregator's CPU.
    updates_per_cpu_s: float
    # GetAggregate, one request at a time.
    gets_per_s: float
    p50_ms: float
    p99_ms: float


def _messages(market: Market, ticks: Ticks) -> list[wire.Tick]:
    columns = (ticks.chosen, ticks.prices, ticks.volumes, ticks.times)
    return [
        wire.Tick(
            symbol=market.symbols[number], price=price, volume=volume, exchange_timestamp=time_ns
        )
        for number, price, volume, time_ns in zip(*(each.tolist() for each in columns), strict=True)
    ]


async def measure_ticks(backend: Backend, count: int) -> float:
    """Return ticks per second over StreamTicks."""
    market = Market(SYMBOLS, 1)
    (ticks,) = market.ticks(count, time.time_ns() - NS_PER_S, 1_000_000)
    messages = _messages(market, ticks)
    call = backend.stub.StreamTicks()
    await call.wait_for_connection()
    began = time.perf_counter()
    for message in messages:
        await call.write(message)
    await call.done_writing()
    # The answer comes when the last one is in the state.
    await call
    seconds = time.perf_counter() - began
    await check_states(backend.stub, market.totals)
    return len(messages) / seconds


async def measure_latency(backend: Backend, seconds: float) -> tuple[Latencies, float]:
    """Return how long ticks take, at RATE, from a message to a message.

    And how many messages the aggregator sends per second of its CPU: as many as it receives.
    """
    symbol = "ONE.BY.ONE"
    updates = backend.stub.StreamAggregates(wire.AggregateRequest(symbol=symbol))
    await updates.initial_metadata()
    call = backend.stub.StreamTicks()
    await call.wait_for_connection()
    count = int(RATE * seconds)
    found: list[float] = []

    async def read() -> int:
        seen = 0
        while seen < count:
            state = await updates.read()
            assert isinstance(state, wire.Aggregate)
            found.append((time.time_ns() - state.timestamp) / NS_PER_S)
            seen = state.volume
        return seen

    meter = CpuMeter(aggregator=backend.aggregator)
    reading = asyncio.create_task(read())
    began = time.perf_counter()
    for number in range(count):
        await asyncio.sleep(began + number / RATE - time.perf_counter())
        now_ns = time.time_ns()
        await call.write(wire.Tick(symbol=symbol, price=1, volume=1, exchange_timestamp=now_ns))
    await call.done_writing()
    await call
    if (seen := await reading) != count:
        raise WrongResult(f"sent {count} ticks one by one, {seen} were counted")
    _, cpu_s = meter.stop()
    updates.cancel()
    return Latencies(found), len(found) / cpu_s["aggregator"]


async def measure_gets(backend: Backend, count: int) -> float:
    """Return how many states per second one client gets that repeats its request at once."""
    request = wire.AggregateRequest(symbol=END)
    began = time.perf_counter()
    for _ in range(count):
        state = await backend.stub.GetAggregate(request)
        if state.trades != 1:
            raise WrongResult(f"{state.trades} trades of {END} instead of 1")
    return count / (time.perf_counter() - began)


async def measure(*, full: bool) -> tuple[Messages, Outcome]:
    """Measure all of it."""
    async with run_backend(session="none") as backend, asyncio.timeout(TIMEOUT_S):
        ticks_per_s = await measure_ticks(backend, 60_000 if full else 3_000)
        gets_per_s = await measure_gets(backend, 5_000 if full else 200)
        latencies, updates = await measure_latency(backend, 10.0 if full else 1.0)
    messages = Messages(
        ticks_per_s=ticks_per_s,
        updates_per_cpu_s=updates,
        gets_per_s=gets_per_s,
        p50_ms=latencies.percentile(50) * 1000,
        p99_ms=latencies.percentile(99) * 1000,
    )
    lines = [
        Line(
            "message/ticks", "gRPC: one message per tick, to state and bars", ticks_per_s, "ticks/s"
        ),
        Line("message/gets", "gRPC: GetAggregate, one after the other", gets_per_s, "per s"),
        Line(
            "message/p50",
            f"gRPC: tick to update, {RATE:,} ticks/s, one message each, p50",
            messages.p50_ms,
            "ms",
        ),
        Line("message/p99", "the same, p99", messages.p99_ms, "ms"),
        Line(
            "message/updates",
            "gRPC: tick in and update out, one message each",
            updates,
            "per s of CPU",
        ),
    ]
    details: dict[str, Any] = {"latency": latencies.to_dict(), "rate": RATE}
    return messages, Outcome(lines, details)
