"""After a restart, of whatever kind, no bar claims more than it has."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from marketdata.wire import market_data_pb2 as wire
from tests.doubles.pipeline import TIMEOUT_S, connect, frame, make_tick, open_stub
from tests.doubles.ports import free_port
from tests.doubles.processes import Service, run_service

if TYPE_CHECKING:  # only the stubs know it
    from marketdata.wire.market_data_pb2_grpc import MarketDataServiceAsyncStub

SECOND_NS = 10**9
MINUTE_NS = 60 * SECOND_NS
FULL = wire.COVERAGE_FULL


@contextlib.asynccontextmanager
async def run_aggregator(
    path: Path, port: int = 0, **env: str
) -> AsyncIterator[tuple[Service, MarketDataServiceAsyncStub]]:
    """Run an aggregator with a store; give it with a client."""
    given = {
        "AGGREGATOR_PORT": str(port),
        "AGGREGATOR_STORE": f"sqlite:///{path}/bars.db",
        "AGGREGATOR_BARS": "1s,1m,1h,1d",
        **env,
    }
    async with (
        run_service("aggregator", given) as service,
        open_stub(await service.wait_for_port()) as stub,
    ):
        yield service, stub


async def publish(
    stub: MarketDataServiceAsyncStub, *batches: wire.TickBatch
) -> list[wire.BatchAck]:
    """Send batches over one stream, and return their acks."""
    call = stub.PublishTicks()
    acks: list[wire.BatchAck] = []
    for batch in batches:
        await call.write(batch)
        ack = await call.read()
        assert isinstance(ack, wire.BatchAck)
        acks.append(ack)
    await call.done_writing()
    await call.code()
    return acks


async def bars(stub: MarketDataServiceAsyncStub, interval: str, **asked: Any) -> list[wire.Bar]:
    request = wire.BarsRequest(symbol="AAPL", interval=interval, include_partial=True, **asked)
    return list((await stub.GetBars(request)).bars)


async def trade(port: int, sent: Counter[int], stop: asyncio.Event) -> None:
    """Send a trade every 10 ms, and count them by second."""
    async with connect(port) as (_, writer):
        while not stop.is_set():
            tick = make_tick()
            writer.write(frame(tick))
            await writer.drain()
            sent[tick.exchange_timestamp // SECOND_NS] += 1
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_bar_that_claims_all_of_its_time_has_all_of_its_trades(
    tmp_path: Path, number: signal.Signals
) -> None:
    port, sent, stop = free_port(), Counter[int](), asyncio.Event()
    env = {"INGEST_PORT": "0", "INGEST_AGGREGATOR": f"127.0.0.1:{port}"}
    async with run_service("ingest", env) as ingest, asyncio.TaskGroup() as tasks:
        async with run_aggregator(tmp_path, port) as (aggregator, stub):
            tasks.create_task(trade(await ingest.wait_for_port(), sent, stop))
            await wait_for_bars(stub, 3)
            # In the middle of a second.
            await asyncio.sleep(1.5 - time.time() % 1)
            stopped = time.time_ns()
            await aggregator.stop(number)
        async with run_aggregator(tmp_path, port) as (aggregator, stub):
            started = time.time_ns()
            await wait_for_bars(stub, 3, started)
            stop.set()
            await asyncio.sleep(3)
            found = await bars(stub, "1s")
    # Bars end when the producer leaves, and it came within the first second.
    first, last = min(sent) + 1, max(sent)
    whole = [bar for bar in found if bar.coverage == FULL]
    wrong = [
        (second, bar.trades, sent[second])
        for bar in whole
        if bar.trades != sent[second := bar.start // SECOND_NS]
    ]
    assert wrong == []
    assert sum(bar.start > started for bar in whole) >= 2
    if number == signal.SIGTERM:
        # Nothing is lost, and nothing is said to be.
        assert {bar.start // SECOND_NS for bar in whole} == set(range(first, last))
    else:
        at_kill = [bar for bar in found if bar.start <= stopped < bar.end]
        assert all(bar.coverage == wire.COVERAGE_PARTIAL for bar in at_kill)


async def wait_for_bars(stub: MarketDataServiceAsyncStub, count: int, after: int = 0) -> None:
    for _ in range(10 * TIMEOUT_S):
        if len(await bars(stub, "1s", **{"from": after})) >= count:
            return
        # Time has to pass here.
        await asyncio.sleep(0.1)
    raise AssertionError("there are no bars")


def batch(
    first_sequence: int, trades: int, since: int, ts: int, prices: Sequence[float] = ()
) -> wire.TickBatch:
    """Return trades of volume 1, as a producer that was there since then sends them."""
    given = prices or [10.0] * trades
    return wire.TickBatch(
        producer_id="p",
        first_sequence=first_sequence,
        ticks=[make_tick(price=price, ts_ns=ts + number) for number, price in enumerate(given)],
        feed=wire.FeedReport(producers=1, accepted=trades, since=since),
    )


async def test_a_batch_whose_ack_was_lost_counts_once_after_an_orderly_stop(tmp_path: Path) -> None:
    now = time.time_ns()
    async with run_aggregator(tmp_path) as (aggregator, stub):
        (ack,) = await publish(stub, batch(1, 3, now, now))
        assert (ack.accepted, ack.duplicates) == (3, 0)
        assert await aggregator.stop() == 0
    async with run_aggregator(tmp_path) as (_, stub):
        (ack,) = await publish(stub, batch(1, 3, now, now))
        assert (ack.accepted, ack.duplicates) == (0, 3)
        (day,) = await bars(stub, "1d")
        assert (day.trades, day.volume) == (3, 3)


async def test_after_a_crash_a_bar_that_gets_trades_again_does_not_claim_to_be_whole(
    tmp_path: Path,
) -> None:
    # All in one second of two minutes ago, which is closed by a trade a minute later.
    old = time.time_ns() // MINUTE_NS * MINUTE_NS - 2 * MINUTE_NS
    async with run_aggregator(tmp_path, AGGREGATOR_LIVE_WITHIN_S="1") as (aggregator, stub):
        await publish(
            stub,
            batch(1, 1, 0, old - 5 * SECOND_NS),
            batch(2, 3, 0, old),
            batch(5, 1, 0, old + 30 * SECOND_NS),
        )
        await wait_for_written(stub)
        (bar,) = await bars(stub, "1s", **{"from": old, "to": old + 1})
        assert (bar.trades, bar.coverage) == (3, FULL)
        await aggregator.stop(signal.SIGKILL)
    async with run_aggregator(tmp_path, AGGREGATOR_LIVE_WITHIN_S="1") as (_, stub):
        (bar,) = await bars(stub, "1s", **{"from": old, "to": old + 1})
        assert (bar.trades, bar.coverage) == (3, FULL)
        # The ack was lost in the crash, so the batch comes again.
        await publish(stub, batch(2, 3, 0, old))
        (bar,) = await bars(stub, "1s", **{"from": old, "to": old + 1})
        assert bar.trades == 6
        assert bar.coverage == wire.COVERAGE_PARTIAL


async def wait_for_written(stub: MarketDataServiceAsyncStub) -> None:
    for _ in range(10 * TIMEOUT_S):
        store = (await stub.GetStatus(wire.StatusRequest())).store
        if store.written and not store.waiting:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("nothing is written")


async def test_after_a_crash_an_older_orderly_stop_is_not_taken_for_the_last(
    tmp_path: Path,
) -> None:
    now = time.time_ns()
    async with run_aggregator(tmp_path) as (aggregator, stub):
        await publish(stub, batch(1, 3, now, now))
        assert await aggregator.stop() == 0
    async with run_aggregator(tmp_path) as (aggregator, stub):
        await publish(stub, batch(4, 2, now, now + 10))
        (day,) = await bars(stub, "1d")
        assert day.trades == 5
        await aggregator.stop(signal.SIGKILL)
    async with run_aggregator(tmp_path) as (_, stub):
        await publish(stub, batch(6, 1, now, now + 20))
        # Of six trades those of the second run are gone, where it wrote no final bar.
        for interval in ("1h", "1d"):
            (bar,) = await bars(stub, interval)
            assert (bar.trades, bar.coverage) == (4, wire.COVERAGE_PARTIAL)


def numbers(state: wire.Aggregate | wire.Bar) -> tuple[float, ...]:
    """Return what an aggregate and a bar have in common."""
    return (*(getattr(state, name) for name in ("open", "high", "low", "close")), *sums(state))


def sums(state: wire.Aggregate | wire.Bar) -> tuple[float, ...]:
    return state.volume, state.trades, state.vwap, state.coverage


@pytest.mark.parametrize("intervals", ["1m,1d", "1m"])
async def test_the_aggregate_goes_on_after_an_orderly_stop_as_the_bar_of_its_day_does(
    tmp_path: Path, intervals: str
) -> None:
    now = time.time_ns()
    asked = wire.AggregateRequest(symbol="AAPL")
    async with run_aggregator(tmp_path, AGGREGATOR_BARS=intervals) as (aggregator, stub):
        await publish(stub, batch(1, 3, now, now, prices=(10.0, 12.0, 9.0)))
        before = await stub.GetAggregate(asked)
        assert await aggregator.stop() == 0
    for price, want in ((11.0, (10.0, 12.0, 9.0, 11.0)), (8.0, (10.0, 12.0, 8.0, 8.0))):
        trades = before.trades
        async with run_aggregator(tmp_path, AGGREGATOR_BARS=intervals) as (aggregator, stub):
            after = await stub.GetAggregate(asked)
            assert (numbers(after), after.timestamp) == (numbers(before), before.timestamp)
            await publish(stub, batch(trades + 1, 1, now, now + trades, prices=(price,)))
            before = await stub.GetAggregate(asked)
            assert numbers(before)[:6] == (*want, trades + 1, trades + 1)
            if "1d" in intervals:
                (day,) = await bars(stub, "1d")
                assert numbers(day) == numbers(before)
            assert await aggregator.stop() == 0


async def test_after_a_crash_the_aggregate_says_that_it_is_partial(tmp_path: Path) -> None:
    now = time.time_ns()
    asked = wire.AggregateRequest(symbol="AAPL")
    async with run_aggregator(tmp_path) as (aggregator, stub):
        await publish(stub, batch(1, 3, now - 86_400 * SECOND_NS, now))
        await aggregator.stop(signal.SIGKILL)
    async with run_aggregator(tmp_path) as (_, stub):
        await publish(stub, batch(4, 1, now - 86_400 * SECOND_NS, now + 3))
        aggregate = await stub.GetAggregate(asked)
        assert (aggregate.trades, aggregate.coverage) == (1, wire.COVERAGE_PARTIAL)
        (day,) = await bars(stub, "1d")
        assert numbers(day) == numbers(aggregate)


async def test_a_late_fill_is_in_the_aggregate_and_in_every_open_bar(tmp_path: Path) -> None:
    # The hour and the day are open; the minutes of the fill are closed, and too old to be revised.
    noon = time.time_ns() // (86_400 * SECOND_NS) * 86_400 * SECOND_NS - 12 * 3600 * SECOND_NS
    late = noon + 50 * MINUTE_NS
    async with run_aggregator(tmp_path) as (_, stub):
        await publish(
            stub,
            batch(1, 1, 0, late - 18 * MINUTE_NS, prices=(10.0,)),
            batch(2, 1, 0, late, prices=(11.0,)),
            # 20, 18 and 16 minutes old.
            batch(3, 1, 0, late - 20 * MINUTE_NS, prices=(7.0,)),
            batch(4, 1, 0, late - 18 * MINUTE_NS + 1, prices=(15.0,)),
            batch(5, 1, 0, late - 16 * MINUTE_NS, prices=(9.0,)),
        )
        aggregate = await stub.GetAggregate(wire.AggregateRequest(symbol="AAPL"))
        assert numbers(aggregate)[:6] == (7.0, 15.0, 7.0, 11.0, 5, 5)
        for interval in ("1h", "1d"):
            (bar,) = await bars(stub, interval)
            assert numbers(bar)[:6] == (7.0, 15.0, 7.0, 11.0, 5, 5)
        assert [bar.trades for bar in await bars(stub, "1m")] == [1, 1]
        assert (await stub.GetStatus(wire.StatusRequest())).bars_late == 0
