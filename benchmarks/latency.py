"""Measure the latency from a producer's socket to ``Watch`` streams, STOMP and SSE clients.

Ticks are live: each carries the time at which it was sent, and has arrived with the first state of
its symbol that contains it. Every tick counts at every client that follows its symbol.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from benchmarks.clients import Crowd
from benchmarks.harness import CpuMeter, Service, WrongResult, no_collections, run_service
from benchmarks.latencies import Latencies
from benchmarks.limits import MachineLimits
from benchmarks.messages import RATE as MESSAGES_RATE
from benchmarks.messages import Messages
from benchmarks.pacer import Pacer, Sent, run_pacer
from benchmarks.pipeline import Backend, run_backend
from benchmarks.report import Line, Outcome
from benchmarks.watching import (
    CATCH_UP_S,
    Arrivals,
    SseWatcher,
    StompWatcher,
    WatchingClient,
    choose,
    merge,
    run_phase,
)
from fakeclient.walk import choose_symbols
from marketdata.channel import client_options
from marketdata.wire import market_data_pb2 as wire
from marketdata.wire.market_data_pb2_grpc import MarketDataServiceStub

# If less than this share of a rate is taken, the line says that we are behind.
KEPT = 0.9


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    symbols: int = 500
    clients: int = 100
    per_client: int = 5
    rates: tuple[int, ...] = (1_000, 10_000, 100_000)
    seconds: float = 10.0
    warm_up_s: float = 2.0


FULL = Plan()
QUICK = Plan(symbols=100, clients=20, rates=(1_000, 5_000), seconds=1.0, warm_up_s=0.2)

Phase = Callable[[int, float], tuple[Latencies, int, Sent]]


@contextmanager
def watch_crowd(
    make: type[StompWatcher | SseWatcher], gateway: Service, pacer: Pacer, plan: Plan
) -> Iterator[Phase]:
    """Give a function that measures clients of the gateway."""
    crowd: Crowd[WatchingClient] = Crowd()
    try:
        for number in range(plan.clients):
            crowd.add(make(gateway.port, choose(pacer.symbols, number, plan.per_client)))

        def phase(rate: int, seconds: float) -> tuple[Latencies, int, Sent]:
            sent, states = run_phase(crowd, pacer, rate, seconds)
            return merge((each.arrivals for each in crowd.clients), sent), states, sent

        yield phase
    finally:
        crowd.stop()


@contextmanager
def watch_grpc(aggregator: Service, pacer: Pacer) -> Iterator[Phase]:
    """Give a function that measures one ``Watch`` stream of all symbols, like a gateway's."""
    arrivals = Arrivals(pacer.symbols)
    with grpc.insecure_channel(aggregator.address, options=client_options()) as channel:
        requests = iter([wire.WatchRequest(add=pacer.symbols)])
        call: Any = MarketDataServiceStub(channel).Watch(requests)
        call.initial_metadata()
        is_done = threading.Event()
        expected: dict[str, int] = {}

        def read() -> None:
            try:
                for batch in call:
                    now_ns = time.time_ns()
                    states = [
                        (each.symbol.encode(), b"%d" % each.volume, b"%d" % each.timestamp)
                        for each in batch.updates
                    ]
                    arrivals.add(states, now_ns)
                    if expected and arrivals.has(expected):
                        is_done.set()
            except grpc.RpcError as exc:
                if exc.code() is not grpc.StatusCode.CANCELLED:
                    raise

        reading = threading.Thread(target=read)
        reading.start()

        def phase(rate: int, seconds: float) -> tuple[Latencies, int, Sent]:
            arrivals.clear()
            expected.clear()
            is_done.clear()
            pacer.start(rate, seconds)
            sent = pacer.finish()
            expected.update(pacer.volumes)
            if not arrivals.has(expected) and not is_done.wait(CATCH_UP_S):
                raise WrongResult("the Watch stream does not have the volume that was sent")
            return merge([arrivals], sent), arrivals.count(), sent

        try:
            yield phase
        finally:
            call.cancel()
            reading.join()


def measure_endpoints(plan: Plan, backend: Backend, gateway: Service) -> list[dict[str, Any]]:
    """Measure each endpoint at each rate."""
    symbols = choose_symbols(str(plan.symbols))
    services = {"ingest": backend.ingest, "aggregator": backend.aggregator, "gateway": gateway}
    found = []
    with run_pacer(backend.ingest.port, symbols) as pacer:
        endpoints: dict[str, Callable[[], AbstractContextManager[Phase]]] = {
            "Watch": lambda: watch_grpc(backend.aggregator, pacer),
            "STOMP": lambda: watch_crowd(StompWatcher, gateway, pacer, plan),
            "SSE": lambda: watch_crowd(SseWatcher, gateway, pacer, plan),
        }
        for endpoint, opened in endpoints.items():
            for rate in plan.rates:
                with opened() as phase:
                    phase(rate, plan.warm_up_s)
                    with no_collections():
                        meter = CpuMeter(**services)
                        latencies, states, sent = phase(rate, plan.seconds)
                        seconds, cpu_s = meter.stop()
                found.append(
                    {
                        "endpoint": endpoint,
                        "rate": rate,
                        "states": states,
                        "sent_per_s": sent.rate(),
                        "sender_behind": sent.behind.to_dict(),
                        "seconds": seconds,
                        "cpu_s": cpu_s,
                        "latency": latencies.to_dict(),
                    }
                )
    return found


def lines_of(
    found: dict[str, Any], plan: Plan, limits: MachineLimits, messages: Messages
) -> list[Line]:
    """Return the lines of one endpoint at one rate."""
    endpoint, rate = found["endpoint"], found["rate"]
    # From the producer to ingest, the aggregator, the gateway, the client.
    hops = 3 if endpoint == "Watch" else 4
    clients = "" if endpoint == "Watch" else f", {plan.clients} clients on {plan.per_client} each"
    note = f"{found['states'] / found['seconds']:,.0f} states/s arrive"
    if found["sent_per_s"] < KEPT * rate:
        # Then ticks also wait before they are sent, which no latency shows.
        note += f"; **behind**: {found['sent_per_s']:,.0f} ticks/s were taken"
    elif found["seconds"] > plan.seconds / KEPT:
        note += f"; **behind**: {found['seconds']:.1f} s for the ticks of {plan.seconds:g} s"
    lines = []
    for name, message in (("p50", messages.p50_ms), ("p99", messages.p99_ms)):
        what = f"tick to {endpoint}, {rate:,} ticks/s over {plan.symbols} symbols{clients}: {name}"
        lines.append(
            Line(
                f"latency/{endpoint}/{rate}/{name}",
                what,
                found["latency"][f"{name}_ms"],
                "ms",
                hops * limits.one_way_ms,
                f"{hops} hops of loopback",
                # At higher rates one message per tick does not keep up.
                message if rate <= MESSAGES_RATE else None,
                note,
            )
        )
    return lines


async def measure(limits: MachineLimits, messages: Messages, *, full: bool) -> Outcome:
    """Measure every endpoint at every rate."""
    plan = FULL if full else QUICK
    async with (
        run_backend(session="none") as backend,
        run_service("gateway", aggregator=backend.aggregator.address, rate_limit=0) as gateway,
    ):
        found = await asyncio.to_thread(measure_endpoints, plan, backend, gateway)
    lines = [line for each in found for line in lines_of(each, plan, limits, messages)]
    return Outcome(lines, {"endpoints": found})
