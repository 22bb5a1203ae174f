"""Cut all stream clients at once, and measure until they are back without a hole or a repeat.

``python -m benchmarks --only reconnect``. The clients are WebSockets of ``/api/v1/stream`` in this
process. They come back as the client for browsers does: after 0.25 to 0.5 s, later after twice as
long; after a 503 they wait as long as Retry-After says.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from random import Random

import grpc

from benchmarks.harness import CpuMeter, Service, cpu_note, run_service
from benchmarks.report import Line, Outcome
from benchmarks.returning import Returned, StreamCrowd
from marketdata.acceptor import allow_open_files
from marketdata.channel import client_options
from marketdata.wire import market_data_pb2 as wire
from marketdata.wire.market_data_pb2_grpc import MarketDataServiceStub


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    clients: int
    symbols: int
    # Updates per second, all symbols together; each client follows one symbol.
    rate: float


FULL = Plan(clients=5_000, symbols=500, rate=500)
QUICK = Plan(clients=300, symbols=30, rate=100)


@contextlib.asynccontextmanager
async def ticking(aggregator: str, symbols: Sequence[str], rate: float) -> AsyncIterator[None]:
    """Publish one tick of one symbol after the other, ``rate`` per second, beside the body."""

    async def publish() -> None:
        async with grpc.aio.insecure_channel(aggregator, options=client_options()) as channel:
            call = MarketDataServiceStub(channel).PublishTicks()
            began = time.perf_counter()
            count = 0
            while True:
                due = int((time.perf_counter() - began) * rate) + 1
                now = time.time_ns()
                batch = [
                    wire.Tick(
                        symbol=symbols[number % len(symbols)],
                        price=100 + number % 7,
                        volume=1,
                        exchange_timestamp=now,
                    )
                    for number in range(count, due)
                ]
                if batch:
                    await call.write(wire.TickBatch(ticks=batch))
                    await call.read()
                    count = due
                await asyncio.sleep(max(0.0, began + count / rate - time.perf_counter()))

    publishing = asyncio.create_task(publish())
    try:
        yield
    finally:
        publishing.cancel()
        with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
            await publishing


async def run(plan: Plan, aggregator: str, gateway: Service) -> tuple[Returned, str]:
    """Connect all clients, cut them once, and return how they came back."""
    allow_open_files(plan.clients + 1000)
    symbols = [f"S{number}" for number in range(plan.symbols)]
    crowd = StreamCrowd(gateway.port, symbols, plan.clients, Random(12))
    try:
        async with ticking(aggregator, symbols, plan.rate):
            await crowd.begin()
            meter = CpuMeter(gateway=gateway)
            returned = await crowd.cut()
            seconds, cpu_s = meter.stop()
    finally:
        crowd.stop()
    return returned, cpu_note(cpu_s, seconds)


async def measure(*, full: bool) -> Outcome:
    """Measure one cut of all clients."""
    plan = FULL if full else QUICK
    async with (
        run_service("aggregator", session="none") as aggregator,
        run_service("gateway", aggregator=aggregator.address) as gateway,
    ):
        returned, note = await run(plan, aggregator.address, gateway)
    times_s = sorted(returned.times_s)
    what = f"{plan.clients:,} stream clients are cut at once: until"
    median_s, last_s = times_s[len(times_s) // 2], times_s[-1]
    note = f"{returned.attempts:,} attempts, {returned.refused:,} got 503; {note}"
    share = 100 * returned.recovered / plan.clients
    lines = [
        Line("reconnect/half", f"{what} half are back", median_s * 1000, "ms"),
        Line("reconnect/all", f"{what} all are back", last_s * 1000, "ms", note=note),
        Line("reconnect/recovered", "of these, recovered without a hole or a repeat", share, "%"),
    ]
    return Outcome(
        lines, {"plan": asdict(plan), "times_s": times_s, "recovered": returned.recovered}
    )


def main() -> None:
    """Run it alone."""
    outcome = asyncio.run(measure(full=True))
    for line in outcome.lines:
        print(f"{line.what}: {line.value:,.1f} {line.unit}  {line.note}")


if __name__ == "__main__":
    main()
