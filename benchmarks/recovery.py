"""Measure how long an aggregator takes to start from its tick log, and what a checkpoint costs.

The log is written by the code that the aggregator writes it with, then the service is started on
it: killed, and started again. A start is over when it listens.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGUSR1
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import psutil

from aggregator.machine.checkpointer import SAVE
from aggregator.machine.inputs import Batch, FeedOpened
from aggregator.machine.journal import BYTE_S, RECORD_S
from aggregator.settings import AggregatorSettings
from aggregator.ticklog.codec import RECORD_HEADER_SIZE
from aggregator.ticklog.file_log import FileLog
from aggregator.ticklog.log import Kind
from benchmarks.acked import cut, to_records
from benchmarks.frames import Market
from benchmarks.harness import Service, WrongResult, run_service
from benchmarks.latencies import Spread
from benchmarks.pacer import run_pacer
from benchmarks.pipeline import Backend, check_states, run_backend
from benchmarks.report import Line, Outcome
from benchmarks.results import ROOT
from fakeclient.walk import choose_symbols
from marketdata.channel import client_options
from marketdata.producer.encoding import encode_varint
from marketdata.timestamps import NS_PER_S
from marketdata.wire import market_data_pb2 as wire
from marketdata.wire.market_data_pb2_grpc import MarketDataServiceStub

STREAM = 1
# No checkpoint is due on its own.
NO_CHECKPOINTS: dict[str, Any] = {"checkpoint_replay_s": 1e6, "checkpoint_s": 1e6}
# Frames and records that are made at once.
CHUNK = 1_000_000


@dataclass(frozen=True, slots=True)
class LogPlan:
    """A log to start from."""

    name: str
    what: str
    ticks: int
    # Ticks per record, and per second of their own time.
    batch: int
    per_s: int
    store: bool = False


@dataclass(frozen=True, slots=True)
class LagPlan:
    """The service that makes checkpoints."""

    symbols: int
    rate: int
    seconds: float
    turns: int


FULL_LOGS = (
    LogPlan("flood", "3,000,000 ticks/s in batches of 10,000", 10_000_000, 10_000, 3_000_000),
    LogPlan("live", "20,000 ticks/s in batches of 40", 10_000_000, 40, 20_000),
)
QUICK_LOGS = (LogPlan("flood", "batches of 1,000", 50_000, 1_000, 3_000_000),)
FULL_LAGS = LagPlan(symbols=50_000, rate=10_000, seconds=25.0, turns=2)
QUICK_LAGS = LagPlan(symbols=500, rate=10_000, seconds=5.0, turns=1)


async def write_log(directory: Path, plan: LogPlan, market: Market) -> list[int]:
    """Add records of so many ticks to a log that was begun; return the bytes after each record."""
    log = FileLog(directory)
    start_ns = time.time_ns() - 3 * 3600 * NS_PER_S
    ignore: Callable[[int], None] = lambda _offset: None  # noqa: E731
    log.append(Kind.FEED_OPENED, start_ns, FeedOpened(STREAM).payload(), ignore)
    ends, sequence = [0], 1
    for done in range(0, plan.ticks, CHUNK):
        at_ns = start_ns + done * NS_PER_S // plan.per_s
        # The last tick of a part has a symbol of its own.
        count = min(CHUNK, plan.ticks - done) - 1
        (part,) = market.ticks(count, at_ns, plan.per_s)
        # As ingest writes them: with the time of their arrival.
        ticks = [tick + b"\x28" + encode_varint(at_ns) for tick in cut(market.writer.write(part))]
        for start in range(0, len(ticks), plan.batch):
            batch = ticks[start : start + plan.batch]
            data = b"\x0a\x05bench\x10" + encode_varint(sequence) + to_records(batch)
            payload = Batch(STREAM, data).payload()
            log.append(Kind.BATCH, int(part.times[start]), payload, ignore)
            sequence += len(batch)
            ends.append(ends[-1] + RECORD_HEADER_SIZE + len(payload))
            if not log.has_room:
                await log.wait_for_room()
    await log.close()
    return ends


@asynccontextmanager
async def start_timed(directory: Path, **settings: Any) -> AsyncIterator[tuple[Service, float]]:
    """Start an aggregator on a log, and kill it in the end; also gives the seconds of the start."""
    began = time.perf_counter()
    async with run_service("aggregator", log=directory, **NO_CHECKPOINTS, **settings) as service:
        try:
            yield service, time.perf_counter() - began
        finally:
            service.kill()


async def measure_start(directory: Path, plan: LogPlan, market: Market) -> dict[str, Any]:
    """Start once; return how long it took, and what it read.

    Raises:
        WrongResult: it has other ticks than the log.
    """
    store = f"sqlite:///{directory}/bars.db" if plan.store else "off"
    async with (
        start_timed(directory, store=store) as (service, seconds),
        grpc.aio.insecure_channel(service.address, options=client_options()) as channel,
    ):
        await check_states(MarketDataServiceStub(channel), market.totals)
    (recovered,) = [each for each in service.events if each["event"] == "log_recovered"]
    replay_s = max(recovered["seconds"], 0.001)
    return {
        "seconds": seconds,
        "replay_s": replay_s,
        "ticks": recovered["ticks"],
        "records": recovered["records"],
        "ticks_per_s": recovered["ticks"] / replay_s,
        "checkpoint": recovered["checkpoint"],
    }


async def make_checkpoint(directory: Path, offset: int) -> tuple[float, float]:
    """Make a checkpoint as the service does; return the seconds, and those of CPU.

    Raises:
        WrongResult: none was made.
    """
    env = {**os.environ, "AGGREGATOR_LOG": str(directory), "AGGREGATOR_STORE": "off"}
    began, before = time.perf_counter(), psutil.Process().cpu_times()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aggregator", "checkpoint", str(offset)),
        cwd=ROOT,
        env=env,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    await process.communicate(f"{SAVE}\n".encode())
    if process.returncode:
        raise WrongResult("no checkpoint was made")
    after = psutil.Process().cpu_times()
    used = after.children_user + after.children_system
    return time.perf_counter() - began, used - before.children_user - before.children_system


async def measure_log(plan: LogPlan) -> dict[str, Any]:
    """Start from the whole log, then from a checkpoint as old as a running service lets it be."""
    market = Market(500, 1)
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        directory = Path(folder)
        async with start_timed(directory, store="off"):
            # It has written the record of its start.
            pass
        ends = await write_log(directory, plan, market)
        without = await measure_start(directory, plan, market)
        # What AGGREGATOR_CHECKPOINT_REPLAY_S allows since, and as much again while the checkpoint
        # is made.
        share = 2 * AggregatorSettings().checkpoint_replay_s / replay_s(ends)
        behind = int(ends[-1] * min(share, 0.25))
        left = next(number for number, end in enumerate(ends) if end >= ends[-1] - behind)
        seconds, cpu_s = await make_checkpoint(directory, 2 + left)
        given = await measure_start(directory, plan, market)
    return {
        "name": plan.name,
        "bytes": ends[-1],
        "without": without,
        "checkpoint_s": seconds,
        "checkpoint_cpu_s": cpu_s,
        "given": given,
    }


def replay_s(ends: Sequence[int]) -> float:
    """Return how long a start takes for records that end at these bytes, as the journal does."""
    return len(ends) * RECORD_S + ends[-1] * BYTE_S


def log_lines(plan: LogPlan, found: dict[str, Any]) -> list[Line]:
    """Return the lines of one log."""
    lines = []
    for key, when in (("without", "no checkpoint"), ("given", "a checkpoint")):
        each = found[key]
        what = f"start from {plan.ticks:,} logged ticks, {plan.what}, {when}"
        note = (
            f"{each['ticks']:,} ticks in {each['records']:,} records replayed in "
            f"{each['replay_s']:.2f} s"
        )
        lines.append(Line(f"recovery/{plan.name}/{key}", what, each["seconds"], "s", note=note))
    what = f"replay, {plan.what}"
    rate = found["without"]["ticks_per_s"]
    note = f"{found['bytes'] / plan.ticks:.0f} bytes per tick"
    lines.append(Line(f"recovery/{plan.name}/replay", what, rate, "ticks/s", note=note))
    return lines


def _pace(backend: Backend, plan: LagPlan) -> int:
    symbols = choose_symbols(str(plan.symbols))
    with run_pacer(backend.ingest.port, symbols) as pacer:
        # The first ticks of all symbols are not measured.
        for rate, seconds in ((plan.symbols, 1.0), (plan.rate, plan.symbols / plan.rate)):
            pacer.start(rate, seconds)
            pacer.finish()
        os.kill(backend.aggregator.pid, SIGUSR1)
        pacer.start(plan.rate, plan.seconds)
        pacer.finish()
    return sum(pacer.volumes.values())


async def measure_lag(plan: LagPlan, settings: dict[str, Any]) -> dict[str, Any]:
    """Run a service with a steady load once; return how late its event loop was.

    Raises:
        WrongResult: a tick was not counted.
    """
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        async with run_backend(
            program="benchmarks.loop_lag", session="none", log=folder, **settings
        ) as backend:
            process = psutil.Process(backend.aggregator.pid)
            before = process.cpu_times()
            sent = await asyncio.to_thread(_pace, backend, plan)
            await _wait_until_counted(backend, sent)
            if settings is not NO_CHECKPOINTS:
                await _wait_for_checkpoint(backend)
            after = process.cpu_times()
    events = backend.aggregator.events
    (lag,) = [each for each in events if each["event"] == "loop_lag"]
    # The last one, at the stop, has no child.
    made = [each for each in events if _is_of_child(each)]
    child_s = after.children_user + after.children_system
    return {
        "lag": {name: lag[name] for name in ("count", "p50_ms", "p99_ms", "p99.9_ms", "max_ms")},
        "service_cpu_s": after.user + after.system - before.user - before.system,
        "child_cpu_s": child_s - before.children_user - before.children_system,
        "checkpoints_s": [each["seconds"] for each in made],
    }


async def _wait_until_counted(backend: Backend, sent: int) -> None:
    for _ in range(200):
        accepted = (await backend.stub.GetStatus(wire.StatusRequest())).accepted
        if accepted == sent:
            return
        await asyncio.sleep(0.05)
    raise WrongResult(f"{accepted} of {sent} ticks were counted")


def _is_of_child(event: dict[str, Any]) -> bool:
    return event["event"] == "checkpoint_saved" and "seconds" in event


async def _wait_for_checkpoint(backend: Backend) -> None:
    for _ in range(600):
        if any(map(_is_of_child, backend.aggregator.events)):
            return
        await asyncio.sleep(0.1)
    raise WrongResult("no checkpoint was made")


async def measure_lags(plan: LagPlan) -> tuple[list[Line], list[dict[str, Any]]]:
    """Measure without checkpoints and beside them, in turns."""
    # So little that a child works half of the time.
    kinds: dict[str, dict[str, Any]] = {
        "none": NO_CHECKPOINTS,
        "beside": {"checkpoint_replay_s": 0.001, "checkpoint_s": 1e6},
    }
    found = []
    for turn in range(plan.turns):
        for kind in kinds if turn % 2 == 0 else reversed(kinds):
            measured = await measure_lag(plan, kinds[kind])
            found.append({"kind": kind, **measured})
    lines = []
    for kind, when in (("none", "no checkpoint"), ("beside", "checkpoints beside it")):
        own = [each for each in found if each["kind"] == kind]
        p99, longest = (
            Spread(tuple(each["lag"][name] for each in own)) for name in ("p99_ms", "max_ms")
        )
        note = f"longest {', '.join(f'{each:.0f}' for each in longest.values)} ms"
        if kind == "beside":
            made = [seconds for each in own for seconds in each["checkpoints_s"]]
            cpu_s = sum(each["child_cpu_s"] for each in own) / len(made)
            note += (
                f"; {len(made)} checkpoints of {Spread(tuple(made)).median:.1f} s, each "
                f"{cpu_s:.1f} s of a child's CPU"
            )
        what = f"event loop late, {plan.symbols:,} symbols, {plan.rate:,} ticks/s, {when}: p99"
        lines.append(Line(f"recovery/lag/{kind}", what, p99.median, "ms", note=note))
    return lines, found


async def measure(*, full: bool) -> Outcome:
    """Measure the starts, then the checkpoints."""
    lines, logs = [], []
    for plan in FULL_LOGS if full else QUICK_LOGS:
        found = await measure_log(plan)
        logs.append(found)
        lines += log_lines(plan, found)
    lag_lines, lags = await measure_lags(FULL_LAGS if full else QUICK_LAGS)
    return Outcome([*lines, *lag_lines], {"logs": logs, "lags": lags})
