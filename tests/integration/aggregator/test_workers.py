"""An aggregator as several processes behind one port."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from aggregator.shards.owners import owner_of
from marketdata.timestamps import NS_PER_S
from marketdata.wire import market_data_pb2 as wire
from tests.doubles.pipeline import TIMEOUT_S, make_tick, open_channel, open_stub
from tests.doubles.processes import Service, run_service

if TYPE_CHECKING:  # only the stubs know it
    from marketdata.wire.market_data_pb2_grpc import MarketDataServiceAsyncStub as Stub

WORKERS = 3
# At least one for each worker.
SYMBOLS = [f"S{number}" for number in range(9)]
PATH = "/marketdata.MarketDataService/"
# Long ago, so that the wall clock closes nothing.
START = 1_700_000_000 * NS_PER_S


@contextlib.asynccontextmanager
async def several(**env: str) -> AsyncIterator[tuple[Service, int, Stub]]:
    given = {"AGGREGATOR_PORT": "0", "AGGREGATOR_WORKERS": str(WORKERS), **env}
    async with (
        run_service("aggregator", given) as service,
        asyncio.timeout(3 * TIMEOUT_S),
        open_stub(port := await service.wait_for_port()) as stub,
    ):
        yield service, port, stub


def batch(*ticks: wire.Tick, first: int = 1) -> wire.TickBatch:
    return wire.TickBatch(producer_id="p", first_sequence=first, ticks=ticks)


def each_second(seconds: range, symbols: list[str] = SYMBOLS) -> list[wire.Tick]:
    return [make_tick(s, 10.0 + n, 1, START + n * NS_PER_S) for n in seconds for s in symbols]


async def publish(stub: Stub, *batches: wire.TickBatch) -> list[wire.BatchAck]:
    return [ack async for ack in stub.PublishTicks(iter(batches))]


async def fails(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


def test_the_symbols_are_of_all_workers() -> None:
    assert {owner_of(symbol, WORKERS) for symbol in SYMBOLS} == set(range(WORKERS))


async def test_questions_are_answered_as_by_one_process() -> None:
    async with several(AGGREGATOR_MAX_SYMBOLS="9") as (_, port, stub):
        ticks = [*each_second(range(5)), make_tick("ONE.MORE", ts_ns=START), make_tick("no symbol")]
        (ack,) = await publish(stub, batch(*ticks))
        assert (ack.last_sequence, ack.accepted) == (47, 45)
        assert [(r.sequence, r.reason) for r in ack.rejections] == [
            (46, "too_many_symbols"),
            (47, "invalid_symbol"),
        ]
        (again,) = await publish(stub, batch(*ticks))
        assert (again.duplicates, again.accepted) == (47, 0)

        listed = await stub.ListSymbols(wire.ListSymbolsRequest(limit=5))
        assert list(listed.symbols) == SYMBOLS[:5]
        rest = await stub.ListSymbols(wire.ListSymbolsRequest(cursor=listed.next_cursor))
        assert (list(rest.symbols), rest.next_cursor) == (SYMBOLS[5:], "")
        asked = [*reversed(SYMBOLS), "s3", "NOBODY"]
        found = await stub.GetAggregates(wire.AggregatesRequest(symbols=asked))
        assert [each.symbol for each in found.aggregates] == SYMBOLS[::-1]
        one = await stub.GetAggregate(wire.AggregateRequest(symbol=" s3"))
        assert (one.symbol, one.trades, one.close) == ("S3", 5, 14.0)
        assert len({each.epoch for each in found.aggregates} | {one.epoch}) == 1
        bars = await stub.GetBars(wire.BarsRequest(symbol="S3", interval="1s"))
        assert [bar.close for bar in bars.bars] == [10.0, 11.0]
        status = await stub.GetStatus(wire.StatusRequest())
        assert (status.symbols, status.accepted, status.duplicates) == (9, 45, 47)
        assert dict(status.rejected) == {"too_many_symbols": 1, "invalid_symbol": 1}
        assert status.epoch == one.epoch
        ticked = await stub.StreamTicks(iter([make_tick("S1"), make_tick("S2", price=-1)]))
        assert ticked.message == "Received 2 ticks"

        code, details = await fails(stub.GetAggregate(wire.AggregateRequest(symbol="NOBODY")))
        assert (code, details) == (grpc.StatusCode.NOT_FOUND, "no data for symbol NOBODY")
        code, _ = await fails(stub.GetAggregate(wire.AggregateRequest(symbol="no symbol")))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        code, details = await fails(stub.GetBars(wire.BarsRequest(symbol="S1", interval="7s")))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "1s 1m 5m 15m 1h 1d" in details
        code, _ = await fails(publish(stub, wire.TickBatch(producer_id="p" * 65)))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        async with open_channel(port) as channel:
            malformed = (grpc.StatusCode.INVALID_ARGUMENT, "the request message does not parse")
            for method in ("GetAggregate", "GetAggregates", "ListSymbols", "GetBars", "GetStatus"):
                assert await fails(channel.unary_unary(f"{PATH}{method}")(b"\xff")) == malformed
            for method in ("PublishTicks", "Watch"):
                call = channel.stream_stream(f"{PATH}{method}")(iter([b"\xff"]))
                assert await fails(drain(call)) == malformed
            call = channel.stream_unary(f"{PATH}StreamTicks")(iter([b"\xff"]))
            assert await fails(call) == malformed
            code, _ = await fails(channel.unary_unary(f"{PATH}Nothing")(b""))
            assert code is grpc.StatusCode.UNIMPLEMENTED


async def drain(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def test_a_batch_that_does_not_parse_ends_the_stream_behind_the_acks_before_it() -> None:
    async with several() as (_, port, _), open_channel(port) as channel:
        good = batch(*each_second(range(3))).SerializeToString()
        call = channel.stream_stream(f"{PATH}PublishTicks")(iter([good, b"\xff"]))
        assert wire.BatchAck.FromString(await call.read()).accepted == 27
        code, _ = await fails(call.read())
        assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_acks_come_in_the_order_of_the_batches() -> None:
    async with several() as (_, _, stub):
        batches = [
            batch(*each_second(range(n, n + 1), SYMBOLS[n % 9 :]), first=1 + 9 * n)
            for n in range(60)
        ]
        acks = await publish(stub, *batches)
        assert [ack.last_sequence for ack in acks] == [
            each.first_sequence + len(each.ticks) - 1 for each in batches
        ]


async def test_watching_all_and_some_has_every_state_once_and_markers_behind_all_bars() -> None:
    async with several() as (_, _, stub):
        everything, some = stub.Watch(), stub.Watch()
        await everything.write(
            wire.WatchRequest(
                all=True, buffer=60_000, add_bars=[wire.BarTopic(symbol="*", interval="1s")]
            )
        )
        await some.write(
            wire.WatchRequest(
                add=["s0", "S1"],
                buffer=60_000,
                add_bars=[wire.BarTopic(symbol="S0", interval="1m")],
            )
        )
        metadata = [dict(await call.initial_metadata()) for call in (everything, some)]
        assert metadata[0] == metadata[1]
        assert metadata[0]["intervals"] == "1s,1m,5m,15m,1h,1d"
        # The first states tell that all workers know what is watched.
        await publish(stub, batch(*each_second(range(1))))
        seen: dict[str, list[int]] = {}
        while len(seen) < 9:
            collect(await everything.read(), seen)
        for second in range(1, 120):
            ticks = each_second(range(second, second + 1))
            await publish(stub, batch(*ticks, first=1 + 9 * second))
        bars: dict[int, set[str]] = {}
        ends: list[int] = []
        while len(ends) < 116 or min(map(len, seen.values())) < 120:
            update = collect(await everything.read(), seen)
            for bar in update.bars:
                if bar.state == wire.BAR_STATE_FINAL:
                    bars.setdefault(bar.end, set()).add(bar.symbol)
            for marker in update.completed:
                assert bars[marker.end] == set(SYMBOLS)
                ends.append(marker.end)
        assert ends == [START + second * NS_PER_S for second in range(1, len(ends) + 1)]
        # No hole, no repeat.
        assert set(seen) == set(SYMBOLS)
        assert all(numbers == list(range(1, 121)) for numbers in seen.values())

        seen.clear()
        minutes: list[wire.Bar] = []
        while not minutes or min(len(seen.get(name, ())) for name in ("S0", "S1")) < 119:
            update = collect(await some.read(), seen)
            minutes += (bar for bar in update.bars if bar.state == wire.BAR_STATE_FINAL)
            assert {marker.interval for marker in update.completed} <= {"1m"}
        assert set(seen) == {"S0", "S1"}
        assert {(bar.symbol, bar.interval) for bar in minutes} == {("S0", "1m")}

        for call, wrong in ((everything, "1x"), (some, "1s")):
            topic = wire.BarTopic(symbol="S1" if wrong == "1x" else "no symbol", interval=wrong)
            await call.write(wire.WatchRequest(add_bars=[topic]))
            code, _ = await fails(drain(call))
            assert code is grpc.StatusCode.INVALID_ARGUMENT


def collect(update: Any, seen: dict[str, list[int]]) -> wire.UpdateBatch:
    assert isinstance(update, wire.UpdateBatch)
    for state in update.updates:
        seen.setdefault(state.symbol, []).append(state.sequence)
    return update


async def test_the_wall_clock_closes_the_bars_of_all_workers_before_their_marker() -> None:
    async with several(AGGREGATOR_BAR_GRACE_S="0") as (_, _, stub):
        watch = stub.Watch()
        await watch.write(wire.WatchRequest(add_bars=[wire.BarTopic(symbol="*", interval="1s")]))
        await watch.initial_metadata()
        now_ns = time.time_ns()
        await publish(stub, batch(*[make_tick(symbol, ts_ns=now_ns) for symbol in SYMBOLS]))
        closed: list[str] = []
        ends: list[int] = []
        while not ends:
            update = await watch.read()
            assert isinstance(update, wire.UpdateBatch)
            closed += [bar.symbol for bar in update.bars if bar.state == wire.BAR_STATE_FINAL]
            ends += [marker.end for marker in update.completed]
        assert sorted(closed) == SYMBOLS
        assert ends == [now_ns - now_ns % NS_PER_S + NS_PER_S]


async def test_one_symbol_can_be_streamed() -> None:
    async with several() as (_, _, stub):
        call = stub.StreamAggregates(wire.AggregateRequest(symbol="s4"))
        await call.initial_metadata()
        for second in range(3):
            await publish(
                stub, batch(*each_second(range(second, second + 1)), first=1 + 9 * second)
            )
            state = await call.read()
            assert isinstance(state, wire.Aggregate)
            assert (state.symbol, state.sequence) == ("S4", second + 1)
        call.cancel()


def sockets_in(directory: Path) -> list[Path]:
    return list(directory.glob("aggregator-*"))


async def test_a_stop_leaves_nothing_and_open_bars_go_on(tmp_path: Path) -> None:
    env = {"AGGREGATOR_STORE": f"sqlite:///{tmp_path}/bars.db", "TMPDIR": str(tmp_path)}
    for life in (1, 2):
        async with several(**env) as (service, port, stub):
            workers = psutil.Process(service.process.pid).children()
            assert len(workers) == WORKERS
            (private,) = sockets_in(tmp_path)
            assert private.stat().st_mode & 0o077 == 0
            watch = stub.Watch()
            await watch.write(wire.WatchRequest(all=True))
            await watch.initial_metadata()
            async with open_channel(port) as channel:
                health: Any = health_pb2_grpc.HealthStub(channel)
                for name in ("", "store", "marketdata.MarketDataService"):
                    answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
                    assert answer.status == health_pb2.HealthCheckResponse.SERVING
            producer = stub.PublishTicks()
            await producer.write(batch(*each_second(range(life, life + 1))))
            await producer.read()
            # As a terminal does: to all of the group at once.
            for process in (psutil.Process(service.process.pid), *workers):
                process.send_signal(signal.SIGINT)
            code, _ = await fails(drain(watch))
            assert code is grpc.StatusCode.UNAVAILABLE
            code, _ = await fails(producer.read())
            assert code is grpc.StatusCode.UNAVAILABLE
            assert await service.end() == 0, service.logs
            assert not psutil.wait_procs(workers, timeout=0)[1]
            assert sockets_in(tmp_path) == []
            assert service.logs[-1]["accepted"] == 9
    async with several(**env) as (_, _, stub):
        await publish(stub, batch(*each_second(range(3, 4))))
        for symbol in SYMBOLS:
            request = wire.BarsRequest(symbol=symbol, interval="1m", include_partial=True)
            (bar,) = (await stub.GetBars(request)).bars
            assert (bar.trades, bar.open, bar.close) == (3, 11.0, 13.0)


async def test_a_worker_that_dies_ends_all_as_if_all_had_died(tmp_path: Path) -> None:
    env = {"AGGREGATOR_STORE": f"sqlite:///{tmp_path}/bars.db", "TMPDIR": str(tmp_path)}
    async with several(**env) as (service, _, stub):
        workers = psutil.Process(service.process.pid).children()
        watch = stub.Watch()
        await watch.write(wire.WatchRequest(all=True))
        await watch.initial_metadata()
        producer = stub.PublishTicks()
        await producer.write(batch(*each_second(range(2))))
        await producer.read()
        workers[1].kill()
        await producer.write(batch(*each_second(range(2, 3)), first=19))
        for call in (watch, producer):
            code, _ = await fails(drain(call))
            assert code is grpc.StatusCode.UNAVAILABLE
        assert await service.end() == 1
        (died,) = service.said("worker died, so all stop")
        assert died["code"] == -signal.SIGKILL
        assert not psutil.wait_procs(workers, timeout=0)[1]
        assert sockets_in(tmp_path) == []
    async with several(**env) as (_, _, stub):
        # What was open is gone, as after the death of a single process.
        await publish(stub, batch(*each_second(range(3, 4))))
        for symbol in SYMBOLS:
            request = wire.BarsRequest(symbol=symbol, interval="1m", include_partial=True)
            (bar,) = (await stub.GetBars(request)).bars
            assert bar.trades == 1


async def test_workers_do_not_outlive_the_front(tmp_path: Path) -> None:
    async with several(TMPDIR=str(tmp_path)) as (service, _, _):
        workers = psutil.Process(service.process.pid).children()
        service.process.kill()
        # They end the log when they end.
        await service.end()
        assert not psutil.wait_procs(workers, timeout=TIMEOUT_S)[1]
        assert sockets_in(tmp_path) == []


async def test_a_signal_while_the_workers_start_ends_them(tmp_path: Path) -> None:
    given = {"AGGREGATOR_PORT": "0", "AGGREGATOR_WORKERS": "3", "TMPDIR": str(tmp_path)}
    async with run_service("aggregator", given) as service, asyncio.timeout(TIMEOUT_S):
        await service.wait_for_log("aggregator starting")
        workers = psutil.Process(service.process.pid).children()
        assert len(workers) == 3
        assert await service.stop() == 0
        assert not psutil.wait_procs(workers, timeout=TIMEOUT_S)[1]
        assert sockets_in(tmp_path) == []


async def test_a_worker_that_cannot_start_says_why_and_ends_all(tmp_path: Path) -> None:
    # No gRPC server can listen at so long a path.
    (deep := tmp_path / ("x" * 100)).mkdir()
    async with run_service(
        "aggregator",
        {"AGGREGATOR_PORT": "0", "AGGREGATOR_WORKERS": "2", "TMPDIR": str(deep)},
    ) as service:
        assert await service.end() == 1
        said = [line["event"] for line in service.logs]
        assert any(event.startswith("aggregator: cannot listen on unix:") for event in said)
        assert said[-1].startswith("aggregator: worker ")
        assert sockets_in(deep) == []
