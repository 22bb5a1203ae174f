"""Bars from the tick to GetBars, across restarts of the aggregator."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from marketdata.timestamps import NS_PER_S
from marketdata.wire import market_data_pb2 as wire
from tests.doubles.pipeline import make_tick, open_channel, open_stub, run_aggregator
from tests.doubles.postgres import PostgresServer

if TYPE_CHECKING:  # only the stubs know it
    from marketdata.wire.market_data_pb2_grpc import MarketDataServiceAsyncStub

START_S = 1_700_000_000 - 1_700_000_000 % 86_400
TIMEOUT_S = 30


def trades(count: int, seed: int = 1) -> list[wire.Tick]:
    """Return trades of two symbols over some minutes, each at most 5 s late."""
    chance = random.Random(seed)
    found = []
    for n in range(count):
        late_ns = chance.randrange(5 * NS_PER_S)
        found.append(
            make_tick(
                chance.choice(["AAPL", "MSFT"]),
                round(chance.uniform(10, 20), 2),
                chance.randrange(1, 500),
                START_S * NS_PER_S + 10 * NS_PER_S + n * 100_000_000 - late_ns,
            )
        )
    return found


async def publish(stub: MarketDataServiceAsyncStub, ticks: Sequence[wire.Tick], first: int) -> None:
    batch = wire.TickBatch(producer_id="p", first_sequence=first, ticks=ticks)

    async def batches() -> Any:
        yield batch

    async for ack in stub.PublishTicks(batches()):
        assert ack.accepted == len(ticks)


async def get_bars(stub: MarketDataServiceAsyncStub, interval: str, **asked: Any) -> list[wire.Bar]:
    request: dict[str, Any] = {"symbol": "AAPL", "from": 0, "limit": 10_000, **asked}
    request["interval"] = interval
    response = await stub.GetBars(wire.BarsRequest(**request))
    return list(response.bars)


RUNS = ((0, 1_000), (1_000, 1_007), (1_007, 3_000))
INTERVALS = ("1s", "1m", "5m", "1h", "1d")


async def all_bars(stub: MarketDataServiceAsyncStub) -> list[Any]:
    found = []
    for interval in INTERVALS:
        for symbol in ("AAPL", "MSFT"):
            for bar in await get_bars(stub, interval, symbol=symbol, include_partial=True):
                # These fields differ after a restart.
                bar.sequence = bar.epoch = 0
                bar.ClearField("coverage")
                found.append(bar)
    return found


async def test_a_graceful_restart_continues_open_bars_exactly(store_address: str) -> None:
    ticks = trades(3_000)
    settings = {"store": store_address, "bar_revise_s": 60.0}
    async with run_aggregator(store="off") as whole, open_stub(whole.port) as stub:
        # In the same batches: late ticks of one batch are one revision.
        for first, last in RUNS:
            await publish(stub, ticks[first:last], first + 1)
        expected = await all_bars(stub)
    for first, last in RUNS:
        async with run_aggregator(**settings) as part, open_stub(part.port) as stub:
            await publish(stub, ticks[first:last], first + 1)
            found = await all_bars(stub)
    assert len(expected) > 600
    assert found == expected


async def test_bars_can_be_read_after_a_restart(store_address: str) -> None:
    async with (
        run_aggregator(store=store_address) as aggregator,
        open_stub(aggregator.port) as stub,
    ):
        await publish(stub, trades(600), 1)
        before = await all_bars(stub)
    async with run_aggregator(store=store_address) as again, open_stub(again.port) as stub:
        assert await all_bars(stub) == before
        response = await stub.GetBars(wire.BarsRequest(symbol="AAPL", interval="1s"))
        assert response.epoch == again.market.book.epoch


async def test_a_week_is_read_from_the_store_with_the_open_day(store_address: str) -> None:
    # A Tuesday.
    day_s = 86_400
    ticks = [
        make_tick("AAPL", 10.0 + n, n + 1, (START_S + n * day_s // 2) * NS_PER_S) for n in range(13)
    ]
    settings = {"store": store_address, "bar_revise_s": 10.0}
    async with run_aggregator(**settings) as part, open_stub(part.port) as stub:
        await publish(stub, ticks[:9], 1)
    async with run_aggregator(**settings) as part, open_stub(part.port) as stub:
        await publish(stub, ticks[9:12], 10)
        (week,) = await get_bars(stub, "1w", include_partial=True)
        assert (week.open, week.close, week.volume, week.trades) == (10.0, 21.0, 78, 12)
        assert week.state == wire.BAR_STATE_PARTIAL
        assert (week.start, week.end) == (
            (START_S - day_s) * NS_PER_S,
            (START_S + 6 * day_s) * NS_PER_S,
        )
        await publish(stub, ticks[12:], 13)
        await publish(stub, [make_tick("AAPL", 1.0, 1, (START_S + 6 * day_s + 3) * NS_PER_S)], 14)
        first, second = await get_bars(stub, "1w", include_partial=True)
        assert (first.close, first.state) == (21.0, wire.BAR_STATE_FINAL)
        assert (second.trades, second.state) == (2, wire.BAR_STATE_PARTIAL)
        assert await get_bars(stub, "1w") == [first]
        (month,) = await get_bars(stub, "1M", include_partial=True)
        assert (month.volume, month.trades) == (92, 14)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"interval": "7m"}, "interval '7m' is not one of 1s 1m 5m 15m 1h 1d"),
        ({"limit": 10_001}, "limit 10001 is above 10000"),
        ({"from": 2, "to": 1}, "from 2 is not before to 1"),
        ({"symbol": "*"}, "symbol '*' must be printable ASCII"),
    ],
)
async def test_what_cannot_be_answered_is_an_invalid_argument(
    asked: dict[str, Any], message: str
) -> None:
    async with run_aggregator() as aggregator, open_stub(aggregator.port) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetBars(wire.BarsRequest(**{"symbol": "A", "interval": "1m", **asked}))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert message in str(caught.value.details())


async def wait_for_health(port: int, status: int) -> None:
    async with open_channel(port) as channel, asyncio.timeout(TIMEOUT_S):
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="store"))
        async for response in watch:
            if response.status == status:
                break
        watch.cancel()


async def main_health(port: int) -> int:
    async with open_channel(port) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest())
        return int(answer.status)


SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def test_without_a_store_ticks_flow_and_health_says_so_until_it_heals(
    tmp_path: Path,
) -> None:
    path = tmp_path / "bars.db"
    path.write_bytes(b"no database at all" * 100)
    async with (
        run_aggregator(store=f"sqlite:///{path}") as aggregator,
        open_stub(aggregator.port) as stub,
    ):
        await wait_for_health(aggregator.port, NOT_SERVING)
        assert await main_health(aggregator.port) == SERVING
        await publish(stub, trades(600), 1)
        assert (await stub.GetAggregate(wire.AggregateRequest(symbol="AAPL"))).trades > 100
        with pytest.raises(grpc.aio.AioRpcError, match="stored bars cannot be read") as caught:
            await get_bars(stub, "1s")
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        path.unlink()
        await wait_for_health(aggregator.port, SERVING)
        assert aggregator.store is not None
        async with asyncio.timeout(TIMEOUT_S):
            await aggregator.store.flush()
        live = await get_bars(stub, "1s")
    assert len(live) > 30
    with contextlib.closing(sqlite3.connect(path)) as database:
        stored = database.execute(
            "SELECT count(*) FROM bars WHERE symbol='AAPL' AND interval='1s' AND state >= 3"
        ).fetchone()
    assert stored == (len(live),)


async def test_a_server_that_is_gone_never_delays_a_tick(postgres: PostgresServer) -> None:
    address = await postgres.make_database()
    ticks = trades(2_000)
    async with (
        run_aggregator(store=address) as aggregator,
        open_stub(aggregator.port) as stub,
    ):
        assert aggregator.store is not None
        await publish(stub, ticks[:1_000], 1)
        postgres.stop("immediate")
        try:
            await publish(stub, ticks[1_000:], 1_001)
            await wait_for_health(aggregator.port, NOT_SERVING)
            assert aggregator.store.status().waiting > 0
        finally:
            postgres.start()
        await wait_for_health(aggregator.port, SERVING)
        async with asyncio.timeout(TIMEOUT_S):
            await aggregator.store.flush()
        assert aggregator.store.status().lost == 0
        found = await all_bars(stub)
    async with run_aggregator(store="off") as whole, open_stub(whole.port) as stub:
        await publish(stub, ticks[:1_000], 1)
        await publish(stub, ticks[1_000:], 1_001)
        assert await all_bars(stub) == found


async def test_pages_of_a_long_history_join(store_address: str) -> None:
    async with (
        run_aggregator(store=store_address, max_closed_bars=50) as aggregator,
        open_stub(aggregator.port) as stub,
    ):
        await publish(stub, trades(3_000), 1)
        whole = await get_bars(stub, "1s")
        pages: list[wire.Bar] = []
        cursor = ""
        while True:
            request = wire.BarsRequest(symbol="AAPL", interval="1s", limit=7, cursor=cursor)
            setattr(request, "from", 0)
            response = await stub.GetBars(request)
            pages += response.bars
            cursor = response.next_cursor
            if not cursor:
                break
        newest = await stub.GetBars(wire.BarsRequest(symbol="AAPL", interval="1s", limit=20))
    starts = [bar.start for bar in whole]
    assert len(starts) > 250
    assert [bar.start for bar in pages] == starts
    assert [bar.start for bar in newest.bars] == starts[-20:]
