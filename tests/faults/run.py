"""Run one schedule of faults, and compare what is known afterwards with a run without any."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from marketdata.producer import Producer
from marketdata.wire import market_data_pb2 as wire
from tests.doubles.pipeline import connect, frame
from tests.faults.cluster import Cluster
from tests.faults.follower import open_follower
from tests.faults.outcome import Difference, Outcome, compare, read_outcome
from tests.faults.schedule import WITHOUT_ACKS, Fault, Step, make_schedule
from tests.faults.workload import Trade, count_trades, make_batches, symbols

if TYPE_CHECKING:  # only the stubs know it
    from marketdata.wire.market_data_pb2_grpc import MarketDataServiceAsyncStub

_TIMEOUT_S = 120.0


@dataclass
class Run:
    """What a run of a schedule gave."""

    steps: list[Step]
    outcome: Outcome
    acked: int = 0
    # Of bars, as a live client saw them.
    closed: list[tuple[str, str, int]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Faults:
    """Runs of seeded schedules, each compared with one run that nothing interrupts.

    Args:
        mode: "sessions": the producer has acks, and anything may fail; "frames": it has none, and
            ingest must live on.
    """

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self._expected: Run | None = None

    async def check(self, seed: int) -> list[str]:
        """Run the schedule of ``seed``; return what is wrong, with the faults that happened."""
        if self._expected is None:
            self._expected = await self._run([], "interval:100ms")
            if self._expected.faults:
                return [f"without a fault: {fault}" for fault in self._expected.faults]
        kinds: list[Fault] = list(Fault) if self._mode == "sessions" else WITHOUT_ACKS
        steps = make_schedule(seed, len(make_batches()), kinds)
        fsync = ("batch", "interval:100ms", "never")[seed % 3]
        try:
            found = await self._run(steps, fsync)
        except Exception as exc:
            return [*map(str, steps), f"failed: {exc!r}"]
        wrong = [_show(each) for each in compare(self._expected.outcome, found.outcome)]
        wrong += found.faults
        if found.acked != self._expected.acked:
            wrong.append(f"{found.acked} trades acked instead of {self._expected.acked}")
        if sorted(found.closed) != sorted(self._expected.closed):
            missing = set(self._expected.closed) - set(found.closed)
            more = len(found.closed) - len(set(found.closed))
            wrong.append(f"live bars: {len(missing)} missing, {more} twice")
        return [*map(str, steps), *wrong] if wrong else []

    async def _run(self, steps: list[Step], fsync: str) -> Run:
        with tempfile.TemporaryDirectory() as name:
            async with (
                asyncio.timeout(_TIMEOUT_S),
                Cluster(Path(name), fsync).run() as cluster,
                open_follower(cluster.gateway_port, list(symbols())) as follower,
            ):
                send = self._send_with_acks if self._mode == "sessions" else self._send_frames
                acked = await send(cluster, {step.after: step for step in steps})
                async with cluster.stub() as stub:
                    last = await _wait_for_all(stub)
                    await follower.wait_for(last)
                    outcome = await read_outcome(
                        stub, list(symbols()), sequences=self._mode == "sessions"
                    )
                return Run(steps, outcome, acked, follower.closed, follower.faults)

    async def _send_with_acks(self, cluster: Cluster, steps: dict[int, Step]) -> int:
        async with Producer(cluster.producers.address, producer_id="feed") as producer:
            async for batch in _with_faults(cluster, steps):
                await producer.send_many(batch)
                # So that the bounds of batches are the same in every run.
                await producer.flush()
            return producer.acked

    async def _send_frames(self, cluster: Cluster, steps: dict[int, Step]) -> int:
        async with connect(cluster.producers.port) as (_, writer):
            async for batch in _with_faults(cluster, steps):
                for symbol, price, volume, ts in batch:
                    tick = wire.Tick(
                        symbol=symbol, price=price, volume=volume, exchange_timestamp=ts
                    )
                    writer.write(frame(tick))
                await writer.drain()
                await asyncio.sleep(0.01)
        return 0


async def _with_faults(cluster: Cluster, steps: dict[int, Step]) -> AsyncIterator[list[Trade]]:
    # Gives each batch; a fault happens while it is on its way.
    async with asyncio.TaskGroup() as tasks:
        for number, batch in enumerate(make_batches()):
            if number in steps:
                tasks.create_task(cluster.inject(steps[number]))
            yield list(batch)


async def _wait_for_all(stub: MarketDataServiceAsyncStub) -> dict[str, int]:
    # Until the aggregator has every trade; returns the sequence of each symbol.
    while True:
        request = wire.AggregatesRequest(symbols=list(symbols()))
        status = await stub.GetStatus(wire.StatusRequest())
        states = (await stub.GetAggregates(request)).aggregates
        if status.accepted >= count_trades():
            return {state.symbol: state.sequence for state in states}
        # Time has to pass here.
        await asyncio.sleep(0.05)


def _show(difference: Difference) -> str:
    name, expected, found = difference
    return f"{name}:\n    expected {expected}\n    found    {found}"
