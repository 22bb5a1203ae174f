"""Measure latency and CPU as the rate grows, of three services, of one process, and of peers.

All servers run all the time and the load changes sides, so that each value and its neighbours see
the same machine. The clients are the same program everywhere: 100 of them, on 5 symbols each.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks import centrifugo, rabbitmq
from benchmarks.clients import Crowd
from benchmarks.harness import CpuMeter, Service, no_collections, run_service, run_standalone
from benchmarks.latencies import Latencies, Spread
from benchmarks.latency import KEPT
from benchmarks.pacer import MakeSender, Pacer, TickSender, run_pacer
from benchmarks.peer_senders import CentrifugoSender, RabbitSender
from benchmarks.pipeline import run_backend
from benchmarks.report import Line, Outcome
from benchmarks.watching import (
    RabbitWatcher,
    StompWatcher,
    WatchingClient,
    choose,
    merge,
    run_phase,
)
from fakeclient.walk import choose_symbols

THREE, ONE = "three services", "standalone"
ALL_RATES = (100, 1_000, 10_000, 50_000, 100_000)
# Peers send every state to every client: beyond this their queues grow for as long as it lasts.
PEER_RATE = 10_000


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    symbols: int = 500
    clients: int = 100
    per_client: int = 5
    rates: tuple[int, ...] = ALL_RATES
    seconds: float = 8.0
    warm_up_s: float = 2.0
    turns: int = 3


FULL = Plan()
QUICK = Plan(symbols=100, clients=20, rates=(1_000, 5_000), seconds=1.0, warm_up_s=0.2, turns=1)


@dataclass(frozen=True, slots=True)
class Side:
    """A server, as producers and clients find it."""

    name: str
    processes: dict[str, Service]
    producer_port: int
    client_port: int
    sender: MakeSender = TickSender
    watcher: Callable[[int, Sequence[str]], WatchingClient] = StompWatcher
    max_rate: int = ALL_RATES[-1]
    peer: str = ""


@dataclass(slots=True)
class Connected:
    """A side with its producer and its clients."""

    side: Side
    pacer: Pacer
    crowd: Crowd[WatchingClient] = field(default_factory=Crowd)

    def run(self, rate: int, plan: Plan) -> dict[str, Any]:
        """Send at a rate, and return what was measured."""
        with no_collections():
            meter = CpuMeter(**self.side.processes)
            sent, states = run_phase(self.crowd, self.pacer, rate, plan.seconds)
            seconds, cpu_s = meter.stop()
        latencies: Latencies = merge((each.arrivals for each in self.crowd.clients), sent)
        cpu = {name: used / seconds for name, used in cpu_s.items()}
        return {
            "side": self.side.name,
            "rate": rate,
            "states": states,
            "sent_per_s": sent.rate(),
            "seconds": seconds,
            "planned_s": len(sent.times) / rate,
            "cpu": {**cpu, "sender": sent.cpu_s / seconds},
            "latency": latencies.to_dict(),
        }


@asynccontextmanager
async def open_sides() -> AsyncIterator[list[Side]]:
    """Run our server in both ways, and the peers that are installed."""
    async with AsyncExitStack() as stack:
        backend = await stack.enter_async_context(run_backend(session="none"))
        gateway = await stack.enter_async_context(
            run_service("gateway", aggregator=backend.aggregator.address, rate_limit=0)
        )
        three = {"ingest": backend.ingest, "aggregator": backend.aggregator, "gateway": gateway}
        one = await stack.enter_async_context(
            run_standalone(aggregator_session="none", gateway_rate_limit=0)
        )
        sides = [
            Side(THREE, three, backend.ingest.port, gateway.port),
            Side(ONE, {ONE: one["gateway"]}, one["ingest"].port, one["gateway"].port),
        ]
        if program := centrifugo.find_program():
            server = await stack.enter_async_context(centrifugo.run_centrifugo(program))
            sides.append(
                Side(
                    "Centrifugo",
                    {"server": server},
                    server.port,
                    server.port,
                    CentrifugoSender,
                    centrifugo.CentrifugoWatcher,
                    PEER_RATE,
                    "Centrifugo",
                )
            )
        if rabbitmq.is_installed():
            broker = await stack.enter_async_context(rabbitmq.run_rabbitmq())
            sides.append(
                Side(
                    "RabbitMQ",
                    {"server": broker.service},
                    broker.stomp_port,
                    broker.service.port,
                    RabbitSender,
                    RabbitWatcher,
                    PEER_RATE,
                    "RabbitMQ",
                )
            )
        yield sides


@contextmanager
def connect(side: Side, plan: Plan) -> Iterator[Connected]:
    """Connect the producer and the clients of a side for the time of the context."""
    symbols = choose_symbols(str(plan.symbols))
    with run_pacer(side.producer_port, symbols, side.sender) as pacer:
        connected = Connected(side, pacer)
        try:
            for number in range(plan.clients):
                connected.crowd.add(
                    side.watcher(side.client_port, choose(symbols, number, plan.per_client))
                )
            yield connected
        finally:
            connected.crowd.stop()


def measure_sides(sides: list[Side], plan: Plan) -> list[dict[str, Any]]:
    """Measure every side at every rate, in turns."""
    found = []
    with ExitStack() as stack:
        connected = [stack.enter_context(connect(side, plan)) for side in sides]
        for rate in plan.rates:
            present = [each for each in connected if rate <= each.side.max_rate]
            for each in present:
                run_phase(each.crowd, each.pacer, rate, plan.warm_up_s)
            for turn in range(plan.turns):
                # Each is first in its turn.
                first = turn % len(present)
                found += [each.run(rate, plan) for each in present[first:] + present[:first]]
    return found


def lines_of(found: list[dict[str, Any]], side: Side, rate: int, plan: Plan) -> list[Line]:
    """Return the lines of a side at a rate: medians of its turns."""
    own = [each for each in found if (each["side"], each["rate"]) == (side.name, rate)]
    if not own:
        return []
    cpu = {name: Spread(tuple(each["cpu"][name] for each in own)).median for name in own[0]["cpu"]}
    servers = sum(cpu[name] for name in side.processes)
    note = f"{servers:.2f} cores, {servers / rate * 1e6:,.1f} us per tick; " + ", ".join(
        f"{name} {share:.2f}" for name, share in cpu.items()
    )
    taken = min(each["sent_per_s"] for each in own)
    if taken < KEPT * rate:
        note += f"; **behind**: {taken:,.0f} ticks/s were taken"
    elif any(each["seconds"] > each["planned_s"] / KEPT for each in own):
        note += f"; **behind**: up to {max(each['seconds'] for each in own):.1f} s"
    what = f"tick to {plan.clients} clients, {rate:,} ticks/s"
    if not side.peer:
        what += f", {side.name}"
    return [
        Line(
            f"curve/{side.name}/{rate}/{name}",
            f"{what}: {name}",
            Spread(tuple(each["latency"][f"{name}_ms"] for each in own)).median,
            "ms",
            note=note,
            peer=side.peer,
        )
        for name in ("p50", "p99")
    ]


async def measure(*, full: bool) -> Outcome:
    """Measure the whole curve."""
    plan = FULL if full else QUICK
    async with open_sides() as sides:
        found = await asyncio.to_thread(measure_sides, sides, plan)
    lines = [
        line for rate in plan.rates for side in sides for line in lines_of(found, side, rate, plan)
    ]
    return Outcome(lines, {"turns": found})
