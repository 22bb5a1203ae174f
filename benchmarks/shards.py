"""What several workers bring an aggregator: ticks into the state, with 1, 2 and 4 of them.

Batches go straight to its port, as ingest sends them, so that nothing else is measured.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass
from math import ceil
from statistics import median
from typing import Any

import grpc
import psutil

from benchmarks.harness import WrongResult, run_service
from benchmarks.report import Line, Outcome
from marketdata.channel import client_options
from marketdata.timestamps import NS_PER_S
from marketdata.wire import market_data_pb2 as wire
from marketdata.wire.market_data_pb2_grpc import MarketDataServiceStub

WORKERS = (1, 2, 4)
# Each is as many processes that start.
QUICK_WORKERS = (1, 2)
BATCH = 10_000
# As many as ingest has on its way by default, or the producer would be what is measured.
IN_FLIGHT = 64
PUBLISH = "/marketdata.MarketDataService/PublishTicks"
# Long ago: only the ticks' own times close bars.
START_NS = 1_700_006_400 * NS_PER_S
TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Load:
    """Ticks in the order of their times, round and round the symbols."""

    name: str
    symbols: int
    ticks: int
    # How many ticks of each symbol are in one second, after which its bars close.
    per_second: int


FULL = (
    Load("many ticks in a second", 500, 4_000_000, 10_000),
    Load("many ticks in a second", 50_000, 2_000_000, 100),
    Load("one tick, one bar a second", 50_000, 300_000, 1),
)
QUICK = (
    Load("many ticks in a second", 500, 100_000, 10_000),
    Load("one tick, one bar a second", 5_000, 30_000, 1),
)
FULL_REPEATS = 3


@dataclass(frozen=True, slots=True)
class Run:
    """One run: how fast, and the CPU that the aggregator took for a tick, front and workers."""

    ticks_per_s: float
    front_ns: float
    workers_ns: float


def make_batches(load: Load) -> list[bytes]:
    """Return the ticks as serialized batches."""
    names = [f"S{number:05}" for number in range(load.symbols)]
    step_ns = NS_PER_S // (load.symbols * load.per_second)
    batches = []
    for first in range(0, load.ticks, BATCH):
        ticks = [
            wire.Tick(
                symbol=names[number % load.symbols],
                price=100.0 + number % 7,
                volume=1 + number % 5,
                exchange_timestamp=START_NS + number * step_ns,
                ingest_timestamp=START_NS,
            )
            for number in range(first, min(first + BATCH, load.ticks))
        ]
        batch = wire.TickBatch(producer_id="load", first_sequence=first + 1, ticks=ticks)
        batches.append(batch.SerializeToString())
    return batches


async def measure_run(load: Load, batches: list[bytes], workers: int) -> Run:
    """Return how fast the ticks came into the state, once they are known to be there."""
    async with (
        run_service("aggregator", workers=workers, session="none") as aggregator,
        grpc.aio.insecure_channel(aggregator.address, options=client_options()) as channel,
        asyncio.timeout(TIMEOUT_S),
    ):
        front = psutil.Process(aggregator.pid)
        processes = [front, *front.children()]
        call: Any = channel.stream_stream(PUBLISH)()
        await call.wait_for_connection()
        room = asyncio.Semaphore(IN_FLIGHT)
        # Opening a symbol costs more than anything after it, and happens once.
        opening = ceil(load.symbols / BATCH)
        for batch in batches[:opening]:
            await call.write(batch)
        accepted = await _read_acks(call, opening, room)
        before = [_cpu_s(process) for process in processes]
        began = time.perf_counter()
        acking = asyncio.create_task(_read_acks(call, len(batches) - opening, room))
        for batch in batches[opening:]:
            await room.acquire()
            await call.write(batch)
        measured = await acking
        seconds = time.perf_counter() - began
        front_s, *workers_s = (
            _cpu_s(process) - was for process, was in zip(processes, before, strict=True)
        )
        accepted += measured
        await call.done_writing()
        status = await MarketDataServiceStub(channel).GetStatus(wire.StatusRequest())
        if (accepted, status.accepted, status.symbols) != (load.ticks, load.ticks, load.symbols):
            raise WrongResult(f"sent {load.ticks} ticks, {accepted} acked, found {status}")
        call.cancel()
    return Run(
        measured / seconds, front_s / measured * NS_PER_S, sum(workers_s) / measured * NS_PER_S
    )


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def _read_acks(call: Any, batches: int, room: asyncio.Semaphore) -> int:
    accepted = 0
    for _ in range(batches):
        ack = wire.BatchAck.FromString(await call.read())
        accepted += ack.accepted
        room.release()
    return accepted


def lines_of(load: Load, found: dict[int, list[Run]]) -> list[Line]:
    """Return what to say of one load."""
    lines = []
    for workers, runs in found.items():
        front_ns = min(run.front_ns for run in runs)
        workers_ns = min(run.workers_ns for run in runs)
        what = f"batches to state, {load.symbols:,} symbols, {load.name}: {workers} worker"
        note = f"CPU per tick: {front_ns:,.0f} ns"
        if workers > 1:
            what += "s"
            note = f"{note} front, {workers_ns:,.0f} ns workers"
        key = f"shards/{load.symbols}/{load.per_second}/{workers}"
        rate = median(run.ticks_per_s for run in runs)
        lines.append(Line(key, what, rate, "ticks/s", note=note))
    return lines


async def measure(*, full: bool) -> Outcome:
    """Measure each load with each number of workers."""
    lines: list[Line] = []
    details: dict[str, Any] = {}
    counts = WORKERS if full else QUICK_WORKERS
    for load in FULL if full else QUICK:
        batches = make_batches(load)
        found: dict[int, list[Run]] = {workers: [] for workers in counts}
        # In turns, so that what else the machine does meets all of them.
        for _ in range(FULL_REPEATS if full else 1):
            for workers in counts:
                found[workers].append(await measure_run(load, batches, workers))
        lines += lines_of(load, found)
        for workers, runs in found.items():
            details[f"{load.symbols}/{load.per_second}/{workers}"] = [asdict(run) for run in runs]
    return Outcome(lines, details)
