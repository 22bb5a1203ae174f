"""Measure whether clients that never read slow the others down.

The readers are measured alone and beside the stalled clients, in turns. A machine's speed drifts
more slowly than one measurement takes, and by more than the effect. So only neighbours are
compared, half of the pairs in each order, and the median ratio counts. The note gives its range,
and the ratio of pairs that were both measured alone.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from benchmarks.clients import SMALL_RECEIVE_BUFFER, Crowd
from benchmarks.harness import Service, WrongResult, no_collections, run_service
from benchmarks.latencies import FEWEST_SURE, Spread
from benchmarks.pacer import Pacer, run_pacer
from benchmarks.pipeline import run_backend
from benchmarks.report import Line, Outcome
from benchmarks.watching import StompWatcher, WatchingClient, choose, merge, run_phase
from fakeclient.walk import choose_symbols

CATCH_UP_S = 20.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    symbols: int = 500
    # Clients that read, and clients that never do; each follows so many symbols.
    readers: int = 900
    stalled: int = 100
    per_reader: int = 1
    # More than the others, so that their buffers are full soon.
    per_stalled: int = 50
    rate: int = 5_000
    # Of each measurement; four of them are a round, which gives two pairs.
    seconds: float = 1.5
    rounds: int = 8
    # Before the first.
    warm_up_s: float = 2.0
    # Stalled clients are full when nothing more reaches them for so long.
    quiet_s: float = 0.4
    # How often this is tried.
    max_fills: int = 20


FULL = Plan()
QUICK = Plan(symbols=100, readers=90, stalled=10, rate=2_000, seconds=0.5, rounds=1, warm_up_s=0.2)


@dataclass(frozen=True, slots=True)
class Measured:
    """The latency of ticks to the readers in one measurement."""

    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Round:
    """Four measurements in this order."""

    alone: Measured
    beside: Measured
    beside_again: Measured
    alone_again: Measured

    def pairs(self) -> list[tuple[Measured, Measured]]:
        """Return each measurement alone with its neighbour beside the stalled clients."""
        return [(self.alone, self.beside), (self.alone_again, self.beside_again)]


def waiting_bytes(client: WatchingClient) -> int:
    """Return how much the kernel holds for a client that does not read."""
    size = array.array("i", [0])
    fcntl.ioctl(client.socket, termios.FIONREAD, size)
    return size[0]


def change(pairs: list[tuple[Measured, Measured]]) -> Spread:
    """Return by what share the p99 of the second of each pair is above that of the first."""
    return Spread(tuple(second.p99_ms / first.p99_ms - 1 for first, second in pairs))


def between(changes: Spread) -> str:
    """Return in which range the median of them is."""
    low, high = changes.median_range()
    return f"{low:+.1%} to {high:+.1%}"


class Stage:
    """The readers, and at times the stalled clients beside them."""

    def __init__(self, plan: Plan, gateway: Service, pacer: Pacer) -> None:
        self._plan = plan
        self._gateway = gateway
        self._pacer = pacer
        self._readers: Crowd[WatchingClient] = Crowd()
        # How much the gateway grew for stalled clients, and how long they took to catch up.
        self.memory: list[int] = []
        self.caught_up_s = 0.0

    def run(self) -> list[Round]:
        """Measure all rounds with the same readers."""
        plan = self._plan
        try:
            for number in range(plan.readers):
                symbols = choose(self._pacer.symbols, number, plan.per_reader)
                self._readers.add(StompWatcher(self._gateway.port, symbols))
            self._send(plan.warm_up_s)
            return [self._run_round(is_last=n == plan.rounds - 1) for n in range(plan.rounds)]
        finally:
            self._readers.stop()

    def _run_round(self, *, is_last: bool) -> Round:
        alone = self._measure()
        with self._stalled() as (beside, stalled):
            if is_last:
                self._wake(stalled)
        self._send(self._plan.quiet_s)
        return Round(alone, *beside, self._measure())

    @contextmanager
    def _stalled(self) -> Iterator[tuple[tuple[Measured, Measured], Crowd[WatchingClient]]]:
        """Let clients subscribe that never read, and measure twice beside them.

        Raises:
            WrongResult: more still reached them.
        """
        plan, stalled = self._plan, Crowd[WatchingClient]()
        memory = self._gateway.memory()
        try:
            for number in range(plan.stalled):
                symbols = choose(self._pacer.symbols, number, plan.per_stalled)
                stalled.add(StompWatcher(self._gateway.port, symbols, SMALL_RECEIVE_BUFFER))
            full: list[int] = []
            for _ in range(plan.max_fills):
                before = full
                self._send(plan.quiet_s)
                full = [waiting_bytes(client) for client in stalled.clients]
                if full == before and all(full):
                    break
            measured = self._measure(), self._measure()
            if [waiting_bytes(client) for client in stalled.clients] != full or not all(full):
                raise WrongResult(
                    "clients that do not read are not stalled: more still reaches them"
                )
            self.memory.append(self._gateway.memory() - memory)
            yield measured, stalled
        finally:
            stalled.stop()

    def _wake(self, stalled: Crowd[WatchingClient]) -> None:
        # They read again, and end with the newest states, however many they missed.
        began = time.perf_counter()
        stalled.poll_until_all(
            lambda client: client.arrivals.has(self._pacer.volumes),
            CATCH_UP_S,
            "clients that stalled did not catch up",
        )
        self.caught_up_s = time.perf_counter() - began

    def _send(self, seconds: float) -> None:
        run_phase(self._readers, self._pacer, self._plan.rate, seconds)

    def _measure(self) -> Measured:
        with no_collections():
            sent, _ = run_phase(self._readers, self._pacer, self._plan.rate, self._plan.seconds)
        latencies = merge((client.arrivals for client in self._readers.clients), sent)
        return Measured(latencies.percentile(50) * 1000, latencies.percentile(99) * 1000)


def run_stage(plan: Plan, ingest: Service, gateway: Service) -> tuple[Stage, list[Round]]:
    """Measure all rounds."""
    with run_pacer(ingest.port, choose_symbols(str(plan.symbols))) as pacer:
        stage = Stage(plan, gateway, pacer)
        return stage, stage.run()


def lines_of(plan: Plan, rounds: list[Round], caught_up_s: float) -> list[Line]:
    """Return the lines of all rounds."""
    pairs = [pair for each in rounds for pair in each.pairs()]
    changes = change(pairs)
    sureness = " with 95 % sureness" if len(pairs) >= FEWEST_SURE else ""
    note = f"median of {len(pairs)} pairs, {between(changes)}{sureness}"
    # Neighbours that were both measured alone: the drift of the machine.
    if neighbours := [(a.alone_again, b.alone) for a, b in pairwise(rounds)]:
        nothing = change(neighbours)
        note += f"; pairs without those {nothing.median:+.1%}, {between(nothing)}"
    who = f"{plan.stalled} of {plan.readers + plan.stalled:,} STOMP clients never read"
    what = f"{who}: p99 of the others, beyond what it is without those"
    alone, beside = (
        median(measured.p99_ms for measured in side) for side in zip(*pairs, strict=True)
    )
    return [
        Line("stalled/change", what, changes.median * 100, "%", note=note),
        Line("stalled/alone", "p99 of the others, alone", alone, "ms"),
        Line("stalled/beside", "p99 of the others, beside those that never read", beside, "ms"),
        Line(
            "stalled/back",
            "those read again: until all have the newest state",
            caught_up_s * 1000,
            "ms",
        ),
    ]


async def measure(*, full: bool) -> Outcome:
    """Measure every round; the median of the ratios counts."""
    plan = FULL if full else QUICK
    async with (
        run_backend(session="none") as backend,
        run_service("gateway", aggregator=backend.aggregator.address) as gateway,
    ):
        stage, rounds = await asyncio.to_thread(run_stage, plan, backend.ingest, gateway)
    details: dict[str, Any] = {
        "rounds": [asdict(each) for each in rounds],
        "change": change([pair for each in rounds for pair in each.pairs()]).to_dict(),
        "memory": stage.memory,
        "rate": plan.rate,
    }
    return Outcome(lines_of(plan, rounds, stage.caught_up_s), details)
