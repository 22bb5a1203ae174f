"""Measure the library for producers: ticks per second from call to ack, with a tick log.

Services, log and program share the machine. Ticks are rows, or columns, before the clock starts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import CpuMeter, WrongResult, cpu_note
from benchmarks.latencies import Latencies, Spread
from benchmarks.pipeline import Backend, run_backend
from benchmarks.report import Line, Outcome
from marketdata.producer import Producer, TickRow
from marketdata.timestamps import NS_PER_S
from marketdata.wire import market_data_pb2 as wire

SYMBOLS = [f"S{number:05}" for number in range(500)]
WAYS = ("send", "send_many", "send_columns")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    ticks: int
    turns: int
    # Ticks that are each awaited until the ack.
    alone: int


FULL = Plan(ticks=500_000, turns=5, alone=2_000)
QUICK = Plan(ticks=10_000, turns=1, alone=50)


@dataclass(frozen=True, slots=True)
class Given:
    """The same ticks as rows and as columns."""

    rows: Sequence[TickRow]
    symbols: NDArray[np.str_]
    prices: NDArray[np.float64]
    volumes: NDArray[np.int64]
    times: NDArray[np.int64]


def make_ticks(count: int) -> Given:
    """Return random ticks of the last second."""
    chance, now_ns = Random(1), time.time_ns() - NS_PER_S
    rows: list[TickRow] = [
        (chance.choice(SYMBOLS), round(chance.uniform(20, 500), 2), 1 + n % 500, now_ns + n)
        for n in range(count)
    ]
    symbols, prices, volumes, times = zip(*rows, strict=True)
    return Given(
        rows, np.array(symbols), np.array(prices), np.array(volumes), np.array(times, np.int64)
    )


async def send(way: str, address: str, ticks: Given) -> None:
    """Send everything, and wait for the acks.

    Raises:
        WrongResult: a tick was not acked.
    """
    async with Producer(address, producer_id=f"bench-{way}") as producer:
        if way == "send":
            for row in ticks.rows:
                await producer.send(*row)
        elif way == "send_many":
            await producer.send_many(ticks.rows)
        else:
            await producer.send_columns(ticks.symbols, ticks.prices, ticks.volumes, ticks.times)
    if producer.acked != len(ticks.rows):
        raise WrongResult(f"{producer.acked} of {len(ticks.rows)} ticks were acked")


async def measure_alone(address: str, ticks: Given, count: int) -> Latencies:
    """Return how long single ticks take from call to ack."""
    seconds = []
    async with Producer(address, producer_id="bench-alone") as producer:
        for row in ticks.rows[:count]:
            began = time.perf_counter()
            await producer.send(*row)
            await producer.flush()
            seconds.append(time.perf_counter() - began)
    return Latencies(seconds)


async def measure_ways(backend: Backend, plan: Plan) -> tuple[list[dict[str, Any]], Latencies]:
    """Measure the ways in turns, then one tick after the other.

    Raises:
        WrongResult: a tick is missing or was counted twice.
    """
    ticks, found = make_ticks(plan.ticks), []
    # It opens the symbols.
    await send("send_many", backend.ingest.address, ticks)
    for turn in range(plan.turns):
        for way in WAYS if turn % 2 == 0 else reversed(WAYS):
            meter = CpuMeter(ingest=backend.ingest, aggregator=backend.aggregator)
            await send(way, backend.ingest.address, ticks)
            seconds, cpu_s = meter.stop()
            shares = {name: used / seconds for name, used in cpu_s.items()}
            found.append({"way": way, "ticks_per_s": plan.ticks / seconds, "cpu": shares})
    alone = await measure_alone(backend.ingest.address, ticks, plan.alone)
    expected = plan.ticks * (1 + plan.turns * len(WAYS)) + plan.alone
    accepted = (await backend.stub.GetStatus(wire.StatusRequest())).accepted
    if accepted != expected:
        raise WrongResult(f"{accepted} ticks were counted, {expected} were acked")
    return found, alone


async def measure(*, full: bool) -> Outcome:
    """Measure every way."""
    plan = FULL if full else QUICK
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        async with run_backend(session="none", log=folder) as backend:
            found, alone = await measure_ways(backend, plan)
    lines = []
    for way in WAYS:
        own = [each for each in found if each["way"] == way]
        rate = Spread(tuple(each["ticks_per_s"] for each in own)).median
        what = f"producer library, {way}, from call to ack, log interval:100ms"
        note = cpu_note(own[-1]["cpu"])
        lines.append(Line(f"producers/{way}", what, rate, "ticks/s", note=note))
    for percent in (50, 99):
        what = f"producer library, one tick from call to ack, log interval:100ms: p{percent}"
        value = alone.percentile(percent) * 1e3
        lines.append(Line(f"producers/alone/p{percent}", what, value, "ms"))
    return Outcome(lines, {"ways": found, "alone": alone.to_dict()})
