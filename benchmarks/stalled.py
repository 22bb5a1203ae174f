"""Whether clients that never read change anything for the others."""

from __future__ import annotations

import array
import asyncio
import fcntl
import termios
import time
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.clients import SMALL_RECEIVE_BUFFER, Crowd
from benchmarks.harness import Service, WrongResult, run_service
from benchmarks.pacer import Pacer, run_pacer
from benchmarks.pipeline import run_backend
from benchmarks.report import Line, Outcome
from benchmarks.watching import StompWatcher, WatchingClient, choose, merge, run_phase
from fakeclient.walk import choose_symbols


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    symbols: int = 500
    # Who reads, and who never does; each follows so many symbols.
    readers: int = 900
    stalled: int = 100
    per_reader: int = 1
    # More than the others, so that what they do not read is felt soon.
    per_stalled: int = 50
    rate: int = 10_000
    seconds: float = 8.0
    fill_s: float = 8.0
    rounds: int = 3


FULL = Plan()
QUICK = Plan(symbols=100, readers=90, stalled=10, rate=2_000, seconds=1.0, fill_s=2.0, rounds=1)


def waiting_bytes(client: WatchingClient) -> int:
    """Return how much the kernel holds for a client that does not read."""
    size = array.array("i", [0])
    fcntl.ioctl(client.socket, termios.FIONREAD, size)
    return size[0]


def run_round(
    plan: Plan, gateway: Service, pacer: Pacer, crowd: Crowd[WatchingClient]
) -> dict[str, float]:
    """Measure the readers alone, and then beside others that never read.

    Raises:
        WrongResult: the others were not stalled, or somebody does not end with what was sent.
    """
    p99_ms, p50_ms = [], []
    stalled: Crowd[WatchingClient] = Crowd()
    memory = gateway.memory()
    try:
        for _ in range(2):
            sent, _ = run_phase(crowd, pacer, plan.rate, plan.seconds)
            latencies = merge((client.arrivals for client in crowd.clients), sent)
            p99_ms.append(latencies.percentile(99) * 1000)
            p50_ms.append(latencies.percentile(50) * 1000)
            if len(p99_ms) == 1:
                for number in range(plan.stalled):
                    symbols = choose(pacer.symbols, number, plan.per_stalled)
                    stalled.add(StompWatcher(gateway.port, symbols, SMALL_RECEIVE_BUFFER))
                run_phase(crowd, pacer, plan.rate, plan.fill_s)
                full = [waiting_bytes(client) for client in stalled.clients]
        if [waiting_bytes(client) for client in stalled.clients] != full or not all(full):
            raise WrongResult("those that do not read are not stalled: more still reaches them")
        memory = gateway.memory() - memory
        # They read again, and have what everyone has, however much they skipped.
        began = time.perf_counter()
        behind = list(stalled.clients)

        def is_done() -> bool:
            behind[:] = [each for each in behind if not each.arrivals.has(pacer.volumes)]
            return not behind

        stalled.poll_until(is_done, 20.0, "clients that stalled did not catch up")
        caught_up_s = time.perf_counter() - began
    finally:
        stalled.stop()
    return {
        "alone_p50_ms": p50_ms[0],
        "alone_p99_ms": p99_ms[0],
        "beside_p50_ms": p50_ms[1],
        "beside_p99_ms": p99_ms[1],
        "change": p99_ms[1] / p99_ms[0] - 1,
        "caught_up_ms": caught_up_s * 1000,
        "memory_mb": memory / 1e6,
    }


def run_rounds(plan: Plan, ingest: Service, gateway: Service) -> list[dict[str, float]]:
    """Measure all rounds with the same readers."""
    symbols = choose_symbols(str(plan.symbols))
    crowd: Crowd[WatchingClient] = Crowd()
    with run_pacer(ingest.port, symbols) as pacer:
        try:
            for number in range(plan.readers):
                crowd.add(StompWatcher(gateway.port, choose(symbols, number, plan.per_reader)))
            run_phase(crowd, pacer, plan.rate, plan.seconds / 4)
            return [run_round(plan, gateway, pacer, crowd) for _ in range(plan.rounds)]
        finally:
            crowd.stop()


async def measure(*, full: bool) -> Outcome:
    """Measure every round; the median of their changes counts."""
    plan = FULL if full else QUICK
    async with (
        run_backend(session="none") as backend,
        run_service("gateway", aggregator=backend.aggregator.address) as gateway,
    ):
        rounds = await asyncio.to_thread(run_rounds, plan, backend.ingest, gateway)
    change = median(each["change"] for each in rounds)
    alone, beside, back = (
        median(each[name] for each in rounds)
        for name in ("alone_p99_ms", "beside_p99_ms", "caught_up_ms")
    )
    who = f"{plan.stalled} of {plan.readers + plan.stalled:,} STOMP clients never read"
    changes = ", ".join(f"{each['change']:+.0%}" for each in rounds)
    lines = [
        Line(
            "stalled/change",
            f"{who}: p99 of the others, beyond what it is without those",
            change * 100,
            "%",
            note=f"by round: {changes}",
        ),
        Line("stalled/alone", "p99 of the others, alone", alone, "ms"),
        Line("stalled/beside", "p99 of the others, beside those that never read", beside, "ms"),
        Line("stalled/back", "those read again: until all have the newest state", back, "ms"),
    ]
    details: dict[str, Any] = {"rounds": rounds, "rate": plan.rate}
    return Outcome(lines, details)
