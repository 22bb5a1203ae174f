"""Measure what the tick log costs: throughput and latency with it and without it, in turns.

The log is in the folder for temporary files; ``TMPDIR`` names another one. Services are as they are
by default, so checkpoints are made beside the flood.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.frames import Market
from benchmarks.harness import CpuMeter, Service, cpu_note, no_collections, run_service
from benchmarks.ingest import EndOfRun, Producer, add_up
from benchmarks.latencies import Spread
from benchmarks.latency import Phase, watch_crowd, watch_grpc
from benchmarks.latency import Plan as Watching
from benchmarks.pacer import run_pacer
from benchmarks.pipeline import Backend, check_states, run_backend
from benchmarks.report import Line, Outcome
from benchmarks.watching import StompWatcher
from fakeclient.walk import choose_symbols
from marketdata.timestamps import NS_PER_S

# Off, and the values of AGGREGATOR_LOG_FSYNC.
OFF = "off"
INTERVAL = "interval:100ms"
# The same, and no checkpoint is due meanwhile.
NO_CHECKPOINTS = "interval:100ms, no checkpoint"
MODES = (OFF, INTERVAL, NO_CHECKPOINTS, "batch")
LATENCY_MODES = (OFF, INTERVAL)
ENDPOINTS = ("Watch", "STOMP")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    ticks: int
    passes: int
    # Turns of each mode.
    floods: int
    latencies: int
    watching: Watching


FULL = Plan(
    ticks=10_000_000, passes=2, floods=3, latencies=6, watching=Watching(rates=(1_000,), seconds=5)
)
QUICK = Plan(
    ticks=100_000,
    passes=1,
    floods=1,
    latencies=1,
    watching=Watching(symbols=100, clients=20, rates=(1_000,), seconds=0.5, warm_up_s=0.2),
)


@contextmanager
def log_settings(mode: str) -> Iterator[dict[str, object]]:
    """Give the settings of an aggregator with a log, which is removed afterwards, or with none."""
    with ExitStack() as stack:
        if mode == OFF:
            yield {"log": OFF}
        else:
            folder = stack.enter_context(TemporaryDirectory(ignore_cleanup_errors=True))
            given: dict[str, object] = {"log": folder, "log_fsync": mode.partition(",")[0]}
            yield {**given, "checkpoint_replay_s": 1e6} if mode == NO_CHECKPOINTS else given


async def flood(mode: str, plan: Plan) -> dict[str, Any]:
    """Send frames over one connection as fast as they are taken, and check every symbol.

    Raises:
        WrongResult: a tick is missing or was counted twice.
    """
    market = Market(500, 1)
    start_ns = (time.time_ns() // NS_PER_S // 3600 - 1) * 3600 * NS_PER_S
    with log_settings(mode) as settings:
        async with run_backend(**settings) as backend:
            end = EndOfRun(backend)
            await end.start()
            producer = Producer(backend, market, end)
            try:
                await producer.send(market.opening(start_ns))
                share_ns = NS_PER_S // (plan.passes + 2)
                per_s = plan.ticks * NS_PER_S // share_ns
                sent = []
                # The first one is short, and warms up.
                for number, ticks in enumerate((plan.ticks // 10, *[plan.ticks] * plan.passes)):
                    at_ns = start_ns + number * share_ns + NS_PER_S // 100
                    sent.append(await producer.send(market.ticks(ticks, at_ns, per_s)))
                await check_states(backend.stub, market.totals)
            finally:
                producer.stop()
                await end.stop()
    return {"mode": mode, **add_up(sent[1:])}


async def measure_floods(plan: Plan) -> tuple[list[Line], list[dict[str, Any]]]:
    """Measure the modes in turns, each turn with fresh services."""
    turns = [MODES if turn % 2 == 0 else MODES[::-1] for turn in range(plan.floods)]
    found = [await flood(mode, plan) for turn in turns for mode in turn]
    rates = {
        mode: Spread(tuple(each["ticks_per_s"] for each in found if each["mode"] == mode))
        for mode in MODES
    }
    off = rates[OFF].median
    lines = []
    for mode in MODES:
        cpu = [each for each in found if each["mode"] == mode][-1]
        values = ", ".join(f"{value / 1e6:.1f}" for value in rates[mode].values)
        note = f"{cpu_note(cpu['cpu_s'], cpu['seconds'])}; turns: {values} million"
        if mode != OFF:
            note = f"{rates[mode].median / off:.0%} of that without a log; {note}"
        what = f"TCP to state and bars: 500 symbols, 1 connection, log {mode}"
        lines.append(
            Line(f"durable/flood/{name_of(mode)}", what, rates[mode].median, "ticks/s", note=note)
        )
    return lines, found


def name_of(mode: str) -> str:
    """Return the mode as a part of a key."""
    return {NO_CHECKPOINTS: "no-checkpoint"}.get(mode, mode.partition(":")[0])


@dataclass(frozen=True, slots=True)
class _Side:
    """One mode: its services, and what measures them."""

    mode: str
    services: dict[str, Service]
    phase: Phase


def _measure_sides(sides: list[_Side], plan: Plan) -> list[dict[str, Any]]:
    rate, watching = plan.watching.rates[0], plan.watching
    found = []
    for side in sides:
        side.phase(rate, watching.warm_up_s)
    with no_collections():
        for turn in range(plan.latencies):
            for side in sides if turn % 2 == 0 else reversed(sides):
                meter = CpuMeter(**side.services)
                latencies, _, _ = side.phase(rate, watching.seconds)
                seconds, cpu_s = meter.stop()
                found.append(
                    {
                        "mode": side.mode,
                        "latency": latencies.to_dict(),
                        "cpu": {name: used / seconds for name, used in cpu_s.items()},
                    }
                )
    return found


def _measure_endpoints(
    backends: dict[str, Backend], gateways: dict[str, Service], plan: Plan
) -> list[dict[str, Any]]:
    symbols, found = choose_symbols(str(plan.watching.symbols)), []
    with ExitStack() as pacers:
        # Each knows the volumes of its aggregator.
        of_modes = {
            mode: pacers.enter_context(run_pacer(backend.ingest.port, symbols))
            for mode, backend in backends.items()
        }
        for endpoint in ENDPOINTS:
            with ExitStack() as stack:
                sides = []
                for mode, backend in backends.items():
                    opened = (
                        watch_grpc(backend.aggregator, of_modes[mode])
                        if endpoint == "Watch"
                        else watch_crowd(
                            StompWatcher, gateways[mode], of_modes[mode], plan.watching
                        )
                    )
                    services = {"ingest": backend.ingest, "aggregator": backend.aggregator}
                    sides.append(_Side(mode, services, stack.enter_context(opened)))
                found += [{"endpoint": endpoint, **each} for each in _measure_sides(sides, plan)]
    return found


@asynccontextmanager
async def _run_gateway(backend: Backend) -> AsyncIterator[Service]:
    async with run_service(
        "gateway", aggregator=backend.aggregator.address, rate_limit=0
    ) as gateway:
        yield gateway


def latency_lines(endpoint: str, found: list[dict[str, Any]], plan: Plan) -> list[Line]:
    """Return the lines of one endpoint."""
    lines = []
    for name in ("p50", "p99"):
        spreads = {
            mode: Spread(
                tuple(each["latency"][f"{name}_ms"] for each in found if each["mode"] == mode)
            )
            for mode in LATENCY_MODES
        }
        # Turns are neighbours, so that the load of the machine is that of both.
        pairs = zip(spreads[INTERVAL].values, spreads[OFF].values, strict=True)
        added = Spread(tuple(on - off for on, off in pairs))
        low, high = added.median_range()
        rate = plan.watching.rates[0]
        what = f"tick to {endpoint}, {rate:,} ticks/s over {plan.watching.symbols} symbols, log"
        for mode in LATENCY_MODES:
            cpu = [each["cpu"] for each in found if each["mode"] == mode][-1]
            note = cpu_note(cpu)
            if mode == INTERVAL:
                note = (
                    f"{added.median:+.2f} ms against off (median of {len(added.values)} pairs, "
                    f"{low:+.2f} to {high:+.2f}); {note}"
                )
            lines.append(
                Line(
                    f"durable/latency/{endpoint}/{name_of(mode)}/{name}",
                    f"{what} {mode}: {name}",
                    spreads[mode].median,
                    "ms",
                    note=note,
                )
            )
    return lines


async def measure_latencies(plan: Plan) -> tuple[list[Line], list[dict[str, Any]]]:
    """Measure the endpoints with both modes; the services of both run all the time."""
    with log_settings(OFF) as without, log_settings(INTERVAL) as logged:
        async with (
            run_backend(session="none", **without) as off,
            run_backend(session="none", **logged) as interval,
            _run_gateway(off) as off_gateway,
            _run_gateway(interval) as interval_gateway,
        ):
            backends = {OFF: off, INTERVAL: interval}
            gateways = {OFF: off_gateway, INTERVAL: interval_gateway}
            found = await asyncio.to_thread(_measure_endpoints, backends, gateways, plan)
    lines = []
    for endpoint in ENDPOINTS:
        measured = [each for each in found if each["endpoint"] == endpoint]
        lines += latency_lines(endpoint, measured, plan)
    return lines, found


async def measure(*, full: bool) -> Outcome:
    """Measure both."""
    plan = FULL if full else QUICK
    flood_lines, floods = await measure_floods(plan)
    latency_results, latencies = await measure_latencies(plan)
    return Outcome([*flood_lines, *latency_results], {"floods": floods, "latencies": latencies})
