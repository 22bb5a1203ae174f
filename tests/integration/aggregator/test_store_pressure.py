"""A fast producer waits for a healthy store; a store that hangs delays ticks for a while only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from aggregator.core import Core
from aggregator.store import room, store
from marketdata.timestamps import NS_PER_S
from marketdata.wire import market_data_pb2 as wire
from tests.doubles.made_bars import make_bar
from tests.doubles.pipeline import make_tick, open_stub, run_aggregator
from tests.doubles.stores import run_store

if TYPE_CHECKING:
    # The stubs alone know it.
    from marketdata.wire.market_data_pb2_grpc import MarketDataServiceAsyncStub

START = 1_700_000_000
TIMEOUT_S = 60
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def batches(count: int, size: int) -> AsyncIterator[wire.TickBatch]:
    """Give batches of ticks that are a second apart, so each closes a bar."""
    for first in range(0, count, size):
        ticks = [make_tick("A", 1.0, 1, (START + n) * NS_PER_S) for n in range(first, first + size)]
        yield wire.TickBatch(producer_id="p", first_sequence=first + 1, ticks=ticks)


async def publish(stub: MarketDataServiceAsyncStub, count: int, size: int) -> int:
    async with asyncio.timeout(TIMEOUT_S):
        return sum([ack.accepted async for ack in stub.PublishTicks(batches(count, size))])


async def status_of(stub: MarketDataServiceAsyncStub) -> wire.StoreStatus:
    return (await stub.GetStatus(wire.StatusRequest())).store


async def test_a_healthy_store_loses_no_bar_of_a_producer_that_is_faster(tmp_path: Path) -> None:
    settings = {"store": f"sqlite:///{tmp_path}/bars.db", "bars": "1s", "store_max_waiting": 4_000}
    async with run_aggregator(**settings) as aggregator, open_stub(aggregator.port) as stub:
        assert await publish(stub, 30_000, 1_000) == 30_000
        found = await status_of(stub)
        assert (found.state, found.lost) == ("ok", 0)
        assert found.waiting <= 3_000
        assert found.written + found.waiting >= 29_990


async def test_single_ticks_wait_for_a_healthy_store_too(tmp_path: Path) -> None:
    settings = {"store": f"sqlite:///{tmp_path}/bars.db", "bars": "1s", "store_max_waiting": 4_000}

    async def ticks() -> AsyncIterator[wire.Tick]:
        async for batch in batches(12_000, 1_000):
            for tick in batch.ticks:
                yield tick

    async with run_aggregator(**settings) as aggregator, open_stub(aggregator.port) as stub:
        ack = await stub.StreamTicks(ticks())
        assert ack.message == "Received 12000 ticks"
        assert (await status_of(stub)).lost == 0


async def test_the_bars_that_the_clock_closes_wait_for_room_too(tmp_path: Path) -> None:
    settings = {"store": f"sqlite:///{tmp_path}/bars.db", "bars": "1s", "store_max_waiting": 2_500}
    async with run_aggregator(**settings) as aggregator, open_stub(aggregator.port) as stub:
        now_s = asyncio.get_running_loop().time
        began = now_s()
        at = time.time_ns() // NS_PER_S * NS_PER_S
        ticks = [make_tick(f"S{n}", 1.0, 1, at) for n in range(8_000)]
        async for _ in stub.PublishTicks(iter([wire.TickBatch(ticks=ticks)])):
            pass
        found = await status_of(stub)
        while found.written < 8_000 and now_s() < began + TIMEOUT_S:
            await asyncio.sleep(0.05)
            found = await status_of(stub)
        assert (found.written, found.lost) == (8_000, 0)


async def test_a_store_that_hangs_delays_ticks_no_longer_than_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MAX_WAIT_S", 0.3)
    monkeypatch.setattr(store, "MAX_WAIT_S", 0.3)
    settings = {"store": f"sqlite:///{tmp_path}/bars.db", "bars": "1s", "store_max_waiting": 4_000}
    async with run_aggregator(**settings) as aggregator, open_stub(aggregator.port) as stub:
        released = hang(aggregator._core)
        began = asyncio.get_running_loop().time()
        assert await publish(stub, 12_000, 1_000) == 12_000
        # It waited once, not with each batch.
        assert 0.3 <= asyncio.get_running_loop().time() - began < 5
        found = await status_of(stub)
        assert found.state == "failing"
        assert found.problem.startswith("no answer for")
        assert found.lost == 12_000 - 1 - 4_000 - 2
        released.set()


async def test_the_health_of_the_store_follows_its_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MAX_WAIT_S", 0.3)
    monkeypatch.setattr(store, "MAX_WAIT_S", 0.3)
    settings = {"store": f"sqlite:///{tmp_path}/bars.db", "bars": "1s", "store_max_waiting": 4_000}
    async with (
        run_aggregator(**settings) as aggregator,
        open_stub(aggregator.port) as stub,
        grpc.aio.insecure_channel(f"127.0.0.1:{aggregator.port}") as channel,
    ):
        health: Any = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(service="store"))
        states = aiter(watch)
        assert (await anext(states)).status == SERVING
        # No other request shows that the transaction does not end.
        released = hang(aggregator._core)
        await publish(stub, 10, 10)
        async with asyncio.timeout(TIMEOUT_S):
            assert (await anext(states)).status == NOT_SERVING
        assert (await status_of(stub)).state == "failing"
        released.set()
        async with asyncio.timeout(TIMEOUT_S):
            assert (await anext(states)).status == SERVING
        assert (await status_of(stub)).state == "ok"
        watch.cancel()


async def test_the_health_of_the_store_says_when_it_overflows(tmp_path: Path) -> None:
    told = asyncio.Queue[bool]()
    async with run_store(f"sqlite:///{tmp_path}/bars.db", max_waiting=10, told=told) as bars:
        assert await told.get() is True
        bars.put([make_bar(n) for n in range(20)])
        assert bars.status().state == "overflowing"
        assert told.get_nowait() is False
        await bars.flush()
        assert await told.get() is True
        assert bars.status().state == "ok"


def hang(core: Core) -> asyncio.Event:
    """Let transactions wait for an event."""
    assert core.store is not None
    released = asyncio.Event()
    database = core.store._database
    save = database.save_bars

    async def wait_and_save(rows: object) -> None:
        await released.wait()
        await save(rows)  # type: ignore[arg-type]

    database.save_bars = wait_and_save  # type: ignore[method-assign]
    return released
