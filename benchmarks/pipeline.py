"""Run ingest and aggregator, and check that they have every tick that was sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from benchmarks.frames import Totals
from benchmarks.harness import Service, WrongResult, run_service
from marketdata.channel import client_options
from marketdata.wire import market_data_pb2 as wire
from marketdata.wire.market_data_pb2_grpc import MarketDataServiceStub

if TYPE_CHECKING:  # only the stubs know it
    from marketdata.wire.market_data_pb2_grpc import MarketDataServiceAsyncStub

ASKED_AT_ONCE = 5_000
_WATCH = "/marketdata.MarketDataService/Watch"


@dataclass(frozen=True, slots=True)
class Backend:
    """Ingest and aggregator."""

    ingest: Service
    aggregator: Service
    stub: MarketDataServiceAsyncStub
    channel: grpc.aio.Channel

    def watch(self) -> grpc.aio.StreamStreamCall[wire.WatchRequest, bytes]:
        """Return a ``Watch`` stream whose batches are not read, only received."""
        serialize = wire.WatchRequest.SerializeToString
        method: Any = self.channel.stream_stream(_WATCH, serialize)
        call: grpc.aio.StreamStreamCall[wire.WatchRequest, bytes] = method()
        return call


@asynccontextmanager
async def run_backend(**of_aggregator: Any) -> AsyncIterator[Backend]:
    """Run an aggregator and an ingest for the time of the context."""
    async with (
        run_service("aggregator", **of_aggregator) as aggregator,
        run_service("ingest", aggregator=aggregator.address) as ingest,
        grpc.aio.insecure_channel(aggregator.address, options=client_options()) as channel,
    ):
        yield Backend(ingest, aggregator, MarketDataServiceStub(channel), channel)


async def check_states(stub: MarketDataServiceAsyncStub, totals: Totals) -> None:
    """Make sure that the aggregator has every tick of every symbol once.

    Raises:
        WrongResult: a symbol has other totals than were sent.
    """
    found: dict[str, tuple[int, int]] = {}
    for start in range(0, len(totals.symbols), ASKED_AT_ONCE):
        asked = totals.symbols[start : start + ASKED_AT_ONCE]
        answer = await stub.GetAggregates(wire.AggregatesRequest(symbols=asked))
        found |= {each.symbol: (each.trades, each.volume) for each in answer.aggregates}
    sent = zip(totals.trades.tolist(), totals.volumes.tolist(), strict=True)
    for symbol, expected in zip(totals.symbols, sent, strict=True):
        if found.get(symbol, (0, 0)) != expected:
            raise WrongResult(
                f"{symbol} has {found.get(symbol)} trades and volume, {expected} were sent"
            )


async def check_bars(
    stub: MarketDataServiceAsyncStub, totals: Totals, from_ns: int, sample: int
) -> int:
    """Make sure that the bars of a second sum up to what was sent, of so many symbols.

    Returns:
        How many symbols were checked.

    Raises:
        WrongResult: they do not.
    """
    count = len(totals.symbols)
    numbers = range(0, count, max(1, count // sample))
    for number in numbers:
        request = wire.BarsRequest(
            symbol=totals.symbols[number], interval="1s", include_partial=True, limit=10_000
        )
        setattr(request, "from", from_ns)
        bars = (await stub.GetBars(request)).bars
        found = (sum(bar.trades for bar in bars), sum(bar.volume for bar in bars))
        expected = (int(totals.trades[number]), int(totals.volumes[number]))
        if found != expected:
            raise WrongResult(
                f"the bars of {request.symbol} have {found} trades and volume, {expected} were sent"
            )
    return len(numbers)
