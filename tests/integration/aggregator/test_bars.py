"""Bars over real gRPC connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from aggregator import core as aggregator_core
from aggregator.app import Aggregator
from aggregator.settings import AggregatorSettings
from marketdata.timestamps import NS_PER_S
from marketdata.wire import market_data_pb2 as wire
from tests.doubles.pipeline import TIMEOUT_S, make_tick, open_stub

if TYPE_CHECKING:  # only the stubs know it
    from marketdata.wire.market_data_pb2_grpc import MarketDataServiceAsyncStub as Stub

MINUTE = 60 * NS_PER_S
NOW = 27_000_000 * MINUTE
PARTIAL, EARLY, FINAL, REVISED = (
    wire.BAR_STATE_PARTIAL,
    wire.BAR_STATE_EARLY,
    wire.BAR_STATE_FINAL,
    wire.BAR_STATE_REVISED,
)


# The clock does not move, so ticks may be far ahead of it.
DEFAULTS: dict[str, Any] = {
    **{"port": 0, "drain_s": 0.2, "store": "off"},
    "max_future_skew_s": 1e6,
}


class Clock:
    """A wall clock that moves only when it is set."""

    def __init__(self) -> None:
        self.now_ns = NOW

    def __call__(self) -> int:
        """Return the time."""
        return self.now_ns


class AggregatorHarness:
    """An aggregator, with verbs to send to it and read from it."""

    def __init__(self, aggregator: Aggregator, stub: Stub, clock: Clock) -> None:
        self.aggregator = aggregator
        self.stub = stub
        self.clock = clock

    async def trade(self, *offsets_ns: int, symbol: str = "A") -> None:
        """Publish a tick for each time after the start as one batch."""
        ticks = [make_tick(symbol, ts_ns=NOW + offset) for offset in offsets_ns]
        acks = [ack async for ack in self.stub.PublishTicks(iter([wire.TickBatch(ticks=ticks)]))]
        assert acks[0].accepted == len(ticks)

    async def watch(self, *topics: tuple[str, str]) -> Watch:
        """Open a stream for the bars of these symbols and intervals."""
        call = self.stub.Watch()
        await call.write(wire.WatchRequest(add_bars=bar_topics(topics)))
        metadata = {name: str(value) for name, value in await call.initial_metadata()}
        return Watch(call, metadata)


class Watch:
    """One Watch stream, read as it comes."""

    def __init__(self, call: Any, metadata: dict[str, str]) -> None:
        self.call = call
        self.metadata = metadata
        self.bars: list[wire.Bar] = []
        self.completed: list[wire.IntervalComplete] = []

    async def until_bar(self, **wanted: Any) -> wire.Bar:
        """Read until a bar with these values has come."""
        while True:
            for bar in self.bars:
                if all(getattr(bar, name) == value for name, value in wanted.items()):
                    return bar
            await self._read()

    async def until_completed(self, interval: str) -> wire.IntervalComplete:
        """Read until an end of the interval is complete."""
        while True:
            for done in self.completed:
                if done.interval == interval:
                    return done
            await self._read()

    async def _read(self) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            batch = await self.call.read()
        self.bars += batch.bars
        self.completed += batch.completed


def bar_topics(topics: Iterable[tuple[str, str]]) -> list[wire.BarTopic]:
    return [wire.BarTopic(symbol=symbol, interval=interval) for symbol, interval in topics]


@contextlib.asynccontextmanager
async def run_harness(**settings: Any) -> AsyncIterator[AggregatorHarness]:
    clock = Clock()
    aggregator = Aggregator(AggregatorSettings(**{**DEFAULTS, **settings}), clock)
    await aggregator.start()
    try:
        async with open_stub(aggregator.port) as stub:
            yield AggregatorHarness(aggregator, stub, clock)
    finally:
        await aggregator.stop()


async def test_a_watch_says_which_intervals_there_are() -> None:
    async with run_harness(bars="1s,1m") as harness:
        watch = await harness.watch()
        assert watch.metadata["intervals"] == "1s,1m"
        watch.call.cancel()


async def test_a_bar_goes_through_its_states_by_its_own_ticks() -> None:
    async with run_harness() as harness:
        await harness.trade(0, 1)
        watch = await harness.watch(("A", "1m"))
        first = await watch.until_bar(state=PARTIAL)
        assert (first.symbol, first.start, first.trades) == ("A", NOW, 2)
        assert first.epoch == int(watch.metadata["epoch"])
        await harness.trade(MINUTE, MINUTE + 2 * NS_PER_S)
        await harness.trade(30 * NS_PER_S)
        final = await watch.until_bar(start=NOW, state=FINAL)
        revised = await watch.until_bar(start=NOW, state=REVISED)
        assert (final.revision, final.trades, final.coverage) == (0, 2, wire.COVERAGE_FULL)
        assert (revised.revision, revised.trades, revised.last_timestamp) == (
            *(1, 3),
            NOW + 30 * NS_PER_S,
        )
        done = await watch.until_completed("1m")
        assert (done.end, done.epoch) == (NOW + MINUTE, first.epoch)
        sequences = [bar.sequence for bar in watch.bars]
        assert sequences == sorted(set(sequences))
        watch.call.cancel()


async def test_the_wall_clock_closes_the_last_bar_of_a_quiet_symbol() -> None:
    async with run_harness() as harness:
        harness.clock.now_ns = NOW + MINUTE - 1_000_000
        await harness.trade(MINUTE - 1_000_000)
        watch = await harness.watch(("*", "1m"))
        await watch.until_bar(state=PARTIAL)
        harness.clock.now_ns = NOW + MINUTE
        early = await watch.until_bar(state=EARLY)
        assert (early.end, early.trades) == (NOW + MINUTE, 1)
        harness.clock.now_ns = NOW + MINUTE + 2 * NS_PER_S
        final = await watch.until_bar(state=FINAL)
        assert final.sequence > early.sequence
        assert (await watch.until_completed("1m")).end == NOW + MINUTE
        watch.call.cancel()


async def test_present_states_are_the_early_bar_and_the_open_one() -> None:
    async with run_harness() as harness:
        await harness.trade(0, MINUTE)
        watch = await harness.watch(("A", "1m"), ("NEW", "1s"))
        await watch.until_bar(start=NOW + MINUTE)
        assert [(bar.start, bar.state) for bar in watch.bars] == [
            (NOW, EARLY),
            (NOW + MINUTE, PARTIAL),
        ]
        await harness.trade(0, symbol="NEW")
        assert (await watch.until_bar(symbol="NEW")).interval == "1s"
        watch.call.cancel()


async def test_removed_bars_are_not_sent_any_more() -> None:
    async with run_harness() as harness:
        watch = await harness.watch(("A", "1m"), ("A", "5m"))
        await harness.trade(0)
        await watch.until_bar(interval="1m")
        await watch.until_bar(interval="5m")
        await watch.call.write(wire.WatchRequest(remove_bars=bar_topics([("A", "1m")])))
        await watch.call.write(wire.WatchRequest(add_bars=bar_topics([("A", "15m")])))
        await watch.until_bar(interval="15m")
        watch.bars.clear()
        await harness.trade(MINUTE, MINUTE + 5)
        await watch.until_bar(interval="15m", trades=3)
        assert {bar.interval for bar in watch.bars} == {"5m", "15m"}
        watch.call.cancel()


async def test_an_interval_that_is_not_made_is_an_invalid_argument_that_names_the_others() -> None:
    async with run_harness(bars="1s,1m") as harness:
        call = harness.stub.Watch(iter([wire.WatchRequest(add_bars=bar_topics([("A", "7m")]))]))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "'7m' is not one of 1s 1m" in str(caught.value.details())


async def test_a_stream_that_is_too_slow_for_closed_bars_ends_and_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aggregator_core, "MAX_WAITING_BARS", 1_000)
    async with run_harness(bars="1s") as harness:
        slow = await harness.watch(("*", "1s"))
        await harness.trade(*(n * NS_PER_S for n in range(50)))
        symbols = [f"S{n}" for n in range(1_100)]
        ticks = [make_tick(s, ts_ns=NOW + n * 3 * NS_PER_S) for n in range(2) for s in symbols]
        async for _ in harness.stub.PublishTicks(iter([wire.TickBatch(ticks=ticks)])):
            pass
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await slow.until_bar(symbol="never")
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert harness.aggregator.watchers.bars.overflows == 1


async def test_streams_that_end_leave_no_topic_behind() -> None:
    async with run_harness() as harness:
        for _ in range(20):
            watch = await harness.watch(("*", "1m"), ("A", "1s"))
            watch.call.cancel()
        async with asyncio.timeout(TIMEOUT_S):
            while len(harness.aggregator.watchers):
                await harness.stub.ListSymbols(wire.ListSymbolsRequest())
        assert harness.aggregator.watchers.bars.watched_topics == 0
