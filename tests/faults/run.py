"""Run one schedule of faults, and compare what is known afterwards with a run without any."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from marketdata.producer import Producer
from marketdata.wire import market_data_pb2 as wire
from tests.doubles.pipeline import connect, frame
from tests.faults.cluster import Cluster
from tests.faults.follower import Follower, open_follower
from tests.faults.forks import Template, load_template
from tests.faults.outcome import Difference, Outcome, compare, count_in_bars, read_outcome
from tests.faults.schedule import IN_ONE_PROCESS, WITHOUT_ACKS, Fault, Step, make_schedule
from tests.faults.shim import Shim
from tests.faults.workload import Batch, count_trades, last_batch, make_batches, symbols

if TYPE_CHECKING:  # only the stubs know it
    from marketdata.wire.market_data_pb2_grpc import MarketDataServiceAsyncStub

_TIMEOUT_S = 120.0
# For what comes after the last trade was sent; on a busy machine, too.
_SETTLE_S = 30.0
# A child process needs seconds to load.
_CHECKPOINTS_EVERY = 4
_FSYNC = ("batch", "interval:100ms", "never")


@dataclass
class Run:
    """What a run of a schedule gave."""

    outcome: Outcome = field(default_factory=dict)
    acked: int = 0
    # Closed states of bars: symbol, start, revision, as a live client saw them.
    closed: list[tuple[str, str, int]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Faults:
    """Runs of seeded schedules, each compared with one run that nothing interrupts.

    Args:
        mode: "sessions": the producer has acks, and anything may fail; "frames": it has none, and
            ingest must live on; "standalone": it has acks, and one process has all services.
        templates: the services by name.
        shim: loaded into the aggregator.
        small_disk: whether disks can be filled.
        has_log: whether the aggregator has a tick log; without one, schedules must fail.
    """

    def __init__(
        self,
        mode: str,
        templates: Mapping[str, Template],
        shim: Shim,
        *,
        small_disk: bool,
        has_log: bool = True,
    ) -> None:
        self._mode = mode
        self._templates = templates
        self._shim = shim
        self._small_disk = small_disk
        self._has_log = has_log
        self._expected: Run | None = None
        kinds = {"sessions": list(Fault), "frames": WITHOUT_ACKS, "standalone": IN_ONE_PROCESS}[
            mode
        ]
        self._kinds = [kind for kind in kinds if small_disk or kind is not Fault.FULL_DISK]

    async def check(self, seed: int) -> list[str]:
        """Run the schedule of ``seed``; return what is wrong, with the faults that happened."""
        if self._expected is None:
            expected = await self._run([], "interval:100ms")
            if expected.faults:
                return [f"without a fault: {fault}" for fault in expected.faults]
            self._expected = expected
        steps = make_schedule(seed, len(make_batches()), self._kinds)
        checkpoints = seed % _CHECKPOINTS_EVERY == 0
        found = await self._run(steps, _FSYNC[seed % len(_FSYNC)], checkpoints=checkpoints)
        wrong = find_differences(self._expected, found)
        return [*map(str, steps), *wrong] if wrong else []

    async def _run(self, steps: list[Step], fsync: str, *, checkpoints: bool = False) -> Run:
        self._shim.reset()
        run = Run()
        with tempfile.TemporaryDirectory(prefix="faults-") as name:
            cluster = Cluster(
                Path(name),
                self._templates,
                self._shim,
                fsync=fsync if self._has_log else None,
                small_disk=self._small_disk,
                checkpoints=checkpoints,
            )
            try:
                async with asyncio.timeout(_TIMEOUT_S), cluster.run():
                    await self._drive(cluster, steps, run)
            except Exception as exc:
                run.faults.append(f"failed: {exc!r}")
        return run

    async def _drive(self, cluster: Cluster, steps: list[Step], run: Run) -> None:
        send = self._send_frames if self._mode == "frames" else self._send_with_acks
        names = list(symbols())
        async with (
            open_follower(cluster.gateway_port, names) as follower,
            contextlib.aclosing(_with_faults(cluster, follower, steps, run.faults)) as batches,
            contextlib.AsyncExitStack() as stack,
        ):
            # The producer stays: from its leaving on, nothing has coverage.
            run.acked = await stack.enter_async_context(send(cluster, batches))
            async with cluster.stub() as stub:
                if not await _settles(_wait_for_all(stub)):
                    run.faults.append("the aggregator lacks trades")
                last = await _last_sequences(stub)
                if not await _settles(follower.wait_for(last)):
                    run.faults.append("the live client lacks states")
                sequences = self._mode != "frames"
                run.outcome = await read_outcome(stub, names, sequences=sequences)
            run.closed = follower.closed
            run.faults += follower.faults

    @contextlib.asynccontextmanager
    async def _send_with_acks(
        self, cluster: Cluster, batches: AsyncIterator[Batch]
    ) -> AsyncIterator[int]:
        async with Producer(cluster.producers.address, producer_id="feed") as producer:
            async for batch in batches:
                await producer.send_many(batch)
                # So that the bounds of batches are the same in every run.
                await producer.flush()
            yield producer.acked

    @contextlib.asynccontextmanager
    async def _send_frames(
        self, cluster: Cluster, batches: AsyncIterator[Batch]
    ) -> AsyncIterator[int]:
        async with connect(cluster.producers.port) as (_, writer):
            async for batch in batches:
                for symbol, price, volume, ts in batch:
                    tick = wire.Tick(
                        symbol=symbol, price=price, volume=volume, exchange_timestamp=ts
                    )
                    writer.write(frame(tick))
                await writer.drain()
                # So that faults happen between batches, too.
                await asyncio.sleep(0.01)
            yield 0


@contextlib.asynccontextmanager
async def open_faults(
    mode: str, folder: Path, *, small_disk: bool, has_log: bool = True
) -> AsyncIterator[Faults]:
    """Load the services, for the time of the context; see :class:`Faults`."""
    shim = Shim(folder)
    first = ("standalone",) if mode == "standalone" else ("aggregator", "ingest")
    async with contextlib.AsyncExitStack() as stack:
        templates = {
            name: await stack.enter_async_context(
                load_template(name, {} if name in {"ingest", "gateway"} else shim.env)
            )
            for name in (*first, "gateway")
        }
        yield Faults(mode, templates, shim, small_disk=small_disk, has_log=has_log)


def find_differences(expected: Run, found: Run) -> list[str]:
    """Return what is wrong with a run, as lines."""
    wrong = list(found.faults)
    if not found.outcome:
        # It came to no end, so nothing is known.
        return [*wrong, "no outcome"]
    if found.acked != expected.acked:
        wrong.append(f"{found.acked} trades acked instead of {expected.acked}")
    wrong += [_show(each) for each in compare(expected.outcome, found.outcome)]
    want, have = Counter(expected.closed), Counter(found.closed)
    if want != have:
        missing, more = want - have, have - want
        wrong.append(
            f"live bars: {missing.total()} missing, {more.total()} too many,"
            f" such as {[*missing, *more][:3]}"
        )
    return wrong


async def _with_faults(
    cluster: Cluster, follower: Follower, steps: list[Step], wrong: list[str]
) -> AsyncGenerator[Batch, None]:
    # Gives each batch; a fault happens while it is on its way. Says what is wrong with a fault.
    by_batch = {step.after: step for step in steps}
    tasks: list[asyncio.Task[None]] = []
    try:
        for number, batch in enumerate(make_batches()):
            if number in by_batch:
                tasks.append(asyncio.create_task(_inject(cluster, by_batch[number], wrong)))
            yield batch
            if not number:
                await follower.wait_for_first()
        await asyncio.gather(*tasks)
        yield last_batch()
    finally:
        for task in tasks:
            task.cancel()


async def _inject(cluster: Cluster, step: Step, wrong: list[str]) -> None:
    try:
        await cluster.inject(step)
    except Exception as exc:
        wrong.append(f"{step}: {exc!r}")


async def _settles(waiting: Awaitable[None]) -> bool:
    # Returns whether what is waited for happens soon.
    try:
        async with asyncio.timeout(_SETTLE_S):
            await waiting
    except TimeoutError:
        return False
    return True


async def _wait_for_all(stub: MarketDataServiceAsyncStub) -> None:
    # The trades of event bars wait for others, so their bars are the last to have all.
    for symbol, count in count_trades().items():
        # Nobody tells when the wall clock lets the last trade of a symbol count.
        while await count_in_bars(stub, symbol, "100t") < count:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def _last_sequences(stub: MarketDataServiceAsyncStub) -> dict[str, int]:
    request = wire.AggregatesRequest(symbols=list(symbols()))
    return {
        state.symbol: state.sequence for state in (await stub.GetAggregates(request)).aggregates
    }


def _show(difference: Difference) -> str:
    name, expected, found = difference
    return f"{name}:\n    expected {expected}\n    found    {found}"
