"""Whatever ends the aggregator, an acknowledged tick is counted once, as if it had gone on."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from marketdata.wire import market_data_pb2 as wire
from tests.doubles.mounts import small_disk
from tests.doubles.pipeline import connect, frame, make_tick, open_channel, open_stub
from tests.doubles.ports import free_port
from tests.doubles.processes import Service, run_service

if TYPE_CHECKING:  # only the stubs know it
    from marketdata.wire.market_data_pb2_grpc import MarketDataServiceAsyncStub

SECOND_NS = 10**9
BEGAN_NS = 1_700_000_000 * SECOND_NS
SYMBOLS = ("A", "B", "C")
INTERVALS = ("1s", "1m", "5m", "100t")
PRODUCER = "feed-1"
RESTARTS = 4


def make_batches(random: Random, count: int = 200) -> list[wire.TickBatch]:
    """Return the batches of a replay: most ticks in order, some late, some invalid."""
    batches, sequence, now_ns = [], 1, BEGAN_NS
    for _ in range(count):
        ticks = []
        for _ in range(random.randint(1, 40)):
            now_ns += random.randint(0, SECOND_NS // 5)
            late_ns = random.choice((0, 0, 0, 0, random.randint(0, 1_200 * SECOND_NS)))
            ticks.append(
                wire.Tick(
                    symbol=random.choice(SYMBOLS),
                    price=random.choice((random.randint(1, 10_000) / 100, -1.0)),
                    volume=random.randint(1, 500),
                    exchange_timestamp=now_ns - late_ns,
                )
            )
        batches.append(wire.TickBatch(producer_id=PRODUCER, first_sequence=sequence, ticks=ticks))
        sequence += len(ticks)
    return batches


@contextlib.asynccontextmanager
async def run_aggregator(
    path: Path, module: str = "aggregator", **env: str
) -> AsyncIterator[tuple[Service, MarketDataServiceAsyncStub]]:
    """Run an aggregator with a log and a store, or a module with one; give it with a client."""
    given = {
        "INGEST_PORT": "0",
        "GATEWAY_PORT": "0",
        "AGGREGATOR_PORT": "0",
        "AGGREGATOR_STORE": f"sqlite:///{path}/bars.db",
        "AGGREGATOR_LOG": f"{path}/log",
        "AGGREGATOR_BARS": ",".join(INTERVALS),
        # With a grace the wall clock would let the last trades count, earlier or later.
        "AGGREGATOR_BAR_GRACE_S": "0",
        "AGGREGATOR_DRAIN_S": "0",
        **env,
    }
    async with (
        run_service(module, given) as service,
        open_stub(await service.wait_for_port()) as stub,
    ):
        yield service, stub


async def publish(
    stub: MarketDataServiceAsyncStub, batches: Sequence[wire.TickBatch], acked: list[int]
) -> None:
    """Send what is not acknowledged yet, as ingest does, and note the acks, to the end."""
    call = stub.PublishTicks()
    first = True

    async def write() -> None:
        nonlocal first
        for batch in batches:
            if batch.first_sequence + len(batch.ticks) - 1 <= acked[0]:
                continue
            sent = wire.TickBatch()
            sent.CopyFrom(batch)
            if first:
                sent.feed.CopyFrom(wire.FeedReport(producers=1, since=BEGAN_NS))
                first = False
            await call.write(sent)
        await call.done_writing()

    writing = asyncio.create_task(write())
    try:
        async for ack in call:
            acked[0] = max(acked[0], ack.last_sequence)
        await writing
    finally:
        writing.cancel()


def last_of(batches: Sequence[wire.TickBatch]) -> int:
    return batches[-1].first_sequence + len(batches[-1].ticks) - 1


async def describe(stub: MarketDataServiceAsyncStub) -> dict[Any, Any]:
    """Return everything that readers see, without the epoch."""
    found: dict[Any, Any] = {}
    for symbol in SYMBOLS:
        state = await stub.GetAggregate(wire.AggregateRequest(symbol=symbol))
        state.ClearField("epoch")
        found[symbol] = state
        for interval in INTERVALS:
            asked = wire.BarsRequest(
                symbol=symbol, interval=interval, include_partial=True, limit=10_000
            )
            answer = await stub.GetBars(asked)
            bars = list(answer.bars)
            for bar in bars:
                bar.ClearField("epoch")
                # A stored bar has none, so it depends on when the store wrote it.
                bar.ClearField("sequence")
            found[symbol, interval] = answer.sequence, bars
    status = await stub.GetStatus(wire.StatusRequest())
    counts = status.accepted, status.late, status.bars_late, dict(status.rejected)
    return {**found, "counts": counts}


def differences(found: dict[Any, Any], expected: dict[Any, Any]) -> Iterator[str]:
    """Say where two descriptions differ."""
    for key, value in expected.items():
        if isinstance(value, tuple) and isinstance(value[1], list):
            yield from differences(
                {
                    f"{key} {index}": bar
                    for index, bar in enumerate([found[key][0], *found[key][1]])
                },
                {f"{key} {index}": bar for index, bar in enumerate([value[0], *value[1]])},
            )
        elif found.get(key) != value:
            yield f"{key}: {found.get(key)} instead of {value}"


async def log_health(service: Service, stub: MarketDataServiceAsyncStub) -> tuple[str, str]:
    """Return what the status and the health service say about the log."""
    status = await stub.GetStatus(wire.StatusRequest())
    (line,) = service.said("aggregator_listening")
    async with open_channel(int(line["address"].rpartition(":")[2])) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(service="log"))
    return status.log.state, health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


async def epoch_of(stub: MarketDataServiceAsyncStub) -> int:
    return (await stub.GetStatus(wire.StatusRequest())).epoch


@pytest.mark.parametrize(
    ("module", "number"),
    [
        ("aggregator", signal.SIGKILL),
        ("aggregator", signal.SIGTERM),
        ("standalone", signal.SIGKILL),
    ],
)
async def test_a_restarted_aggregator_equals_one_that_went_on(
    tmp_path: Path, module: str, number: signal.Signals
) -> None:
    random = Random(number)
    batches = make_batches(random)
    last = last_of(batches)
    async with run_aggregator(tmp_path / "undisturbed", AGGREGATOR_LOG="off") as (_, stub):
        await publish(stub, batches, [0])
        expected = await describe(stub)
    acked, epochs, restarts = [0], set(), 0
    # Once more after the last tick.
    while acked[0] < last or restarts <= RESTARTS:
        async with run_aggregator(tmp_path / "restarted", module) as (service, stub):
            state = await stub.GetProducer(wire.ProducerStateRequest(producer_id=PRODUCER))
            assert state.last_sequence >= acked[0]
            epochs.add(await epoch_of(stub))
            sending = asyncio.create_task(publish(stub, batches, acked))
            if restarts < RESTARTS:
                await asyncio.sleep(random.uniform(0, 0.08))
                service.process.send_signal(number)
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await sending
            if restarts < RESTARTS:
                await service.end()
            else:
                found = await describe(stub)
            restarts += 1
    assert list(differences(found, expected)) == []
    assert len(epochs) == 1


async def trade(port: int, sent: Counter[int], stop: asyncio.Event) -> None:
    """Send a trade every 5 ms without a session, and count them by second."""
    async with connect(port) as (_, writer):
        while not stop.is_set():
            tick = make_tick("A")
            writer.write(frame(tick))
            await writer.drain()
            sent[tick.exchange_timestamp // SECOND_NS] += 1
            await asyncio.sleep(0.005)


async def test_a_kill_costs_ticks_through_ingest_nothing_and_bars_no_coverage(
    tmp_path: Path,
) -> None:
    port, random = free_port(), Random(3)
    sent, stop = Counter[int](), asyncio.Event()
    env = {"INGEST_PORT": "0", "INGEST_AGGREGATOR": f"127.0.0.1:{port}"}
    live = {
        "AGGREGATOR_PORT": str(port),
        "AGGREGATOR_BAR_GRACE_S": "1",
        "AGGREGATOR_CHECKPOINT_S": "1",
    }
    epochs, began = set(), 0
    async with run_service("ingest", env) as ingest, asyncio.TaskGroup() as tasks:
        tasks.create_task(trade(await ingest.wait_for_port(), sent, stop))
        for _ in range(3):
            async with run_aggregator(tmp_path, **live) as (service, stub):
                epochs.add(await epoch_of(stub))
                began = began or time.time_ns() // SECOND_NS
                await asyncio.sleep(random.uniform(0.5, 2.5))
                await service.stop(signal.SIGKILL)
        async with run_aggregator(tmp_path, **live) as (_, stub):
            epochs.add(await epoch_of(stub))
            await asyncio.sleep(2)
            stop.set()
            await ingest.stop()
            asked = wire.BarsRequest(symbol="A", interval="1s", include_partial=True, limit=1_000)
            bars = (await stub.GetBars(asked)).bars
            state = await stub.GetAggregate(wire.AggregateRequest(symbol="A"))
    assert state.trades == sent.total()
    assert {bar.start // SECOND_NS: bar.trades for bar in bars} == dict(sent)
    # Nobody vouches for the time before the first start, nor for the second in which the producer
    # left.
    full = {bar.start // SECOND_NS for bar in bars if bar.coverage == wire.COVERAGE_FULL}
    assert full >= {second for second in sent if began < second < max(sent)}
    assert len(epochs) == 1


async def test_a_full_disk_stops_the_acks_and_nothing_else_until_there_is_room(
    tmp_path: Path,
) -> None:
    batches = make_batches(Random(2), 300)
    async with run_aggregator(tmp_path / "undisturbed", AGGREGATOR_LOG="off") as (_, stub):
        await publish(stub, batches, [0])
        expected = await describe(stub)
    with small_disk(tmp_path / "disk", "4m") as disk:
        env = {"AGGREGATOR_LOG": str(disk.path / "log"), "AGGREGATOR_LOG_SEGMENT_BYTES": "65536"}
        async with run_aggregator(tmp_path, **env) as (service, stub):
            acked = [0]
            await publish(stub, batches[:10], acked)
            disk.fill(leave=8_192)
            before = acked[0]
            sending = asyncio.create_task(publish(stub, batches[10:], acked))
            problem = await service.wait_for_log("log_failing")
            assert problem["problem"] == "disk full"
            # What is acknowledged is applied, what is not is not; reads go on.
            assert await log_health(service, stub) == ("disk full", "NOT_SERVING")
            state = await stub.GetProducer(wire.ProducerStateRequest(producer_id=PRODUCER))
            assert before <= acked[0] <= state.last_sequence < last_of(batches)
            await describe(stub)
            watch = stub.Watch()
            await watch.write(wire.WatchRequest(add=["A"]))
            update = await watch.read()
            assert isinstance(update, wire.UpdateBatch)
            assert [each.symbol for each in update.updates] == ["A"]
            watch.cancel()
            assert not sending.done()
            disk.make_room()
            await service.wait_for_log("log_ok")
            await sending
            assert await log_health(service, stub) == ("ok", "SERVING")
            assert list(differences(await describe(stub), expected)) == []
            await service.stop(signal.SIGKILL)
        async with run_aggregator(tmp_path, **env) as (_, stub):
            assert list(differences(await describe(stub), expected)) == []


async def test_a_child_process_saves_the_state_and_a_start_needs_only_the_records_after_it(
    tmp_path: Path,
) -> None:
    batches = make_batches(Random(1), 100)
    async with run_aggregator(tmp_path / "undisturbed", AGGREGATOR_LOG="off") as (_, stub):
        await publish(stub, batches, [0])
        expected = await describe(stub)
    async with run_aggregator(tmp_path, AGGREGATOR_CHECKPOINT_S="0.5") as (service, stub):
        acked = [0]
        await publish(stub, batches[:60], acked)
        saved = await service.wait_for_log("checkpoint_saved")
        await publish(stub, batches[60:], acked)
        await service.stop(signal.SIGKILL)
    async with run_aggregator(tmp_path) as (service, stub):
        (recovered,) = service.said("log_recovered")
        assert recovered["checkpoint"] >= saved["offset"] > 0
        assert recovered["records"] == recovered["offset"] - recovered["checkpoint"]
        assert list(differences(await describe(stub), expected)) == []
