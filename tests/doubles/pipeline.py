"""Real services on free ports, in this process, and a producer to feed them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any

import grpc

from aggregator.app import Aggregator
from aggregator.settings import AggregatorSettings
from ingest.app import Ingest
from ingest.settings import IngestSettings
from marketdata.channel import Options, client_options
from marketdata.framing import encode_frame
from marketdata.wire import market_data_pb2 as wire
from marketdata.wire.market_data_pb2_grpc import MarketDataServiceStub

if TYPE_CHECKING:  # only the stubs know it
    from marketdata.wire.market_data_pb2_grpc import MarketDataServiceAsyncStub

TIMEOUT_S = 60


def make_tick(
    symbol: str = "AAPL", price: float = 10.0, volume: int = 1, ts_ns: int | None = None
) -> wire.Tick:
    """Return a tick that passes validation."""
    return wire.Tick(
        symbol=symbol,
        price=price,
        volume=volume,
        exchange_timestamp=time.time_ns() if ts_ns is None else ts_ns,
    )


def frame(tick: wire.Tick) -> bytes:
    """Return ``tick`` as a producer sends it."""
    return encode_frame(tick.SerializeToString())


@contextlib.asynccontextmanager
async def run_aggregator(**settings: Any) -> AsyncIterator[Aggregator]:
    """Run an aggregator for the time of the context."""
    given = {"port": 0, "drain_s": 0.2, "store": "off", **settings}
    aggregator = Aggregator(AggregatorSettings(**given))
    await aggregator.start()
    try:
        yield aggregator
    finally:
        await aggregator.stop()


@contextlib.asynccontextmanager
async def run_ingest(aggregator: str, **settings: Any) -> AsyncIterator[Ingest]:
    """Run an ingest for the time of the context."""
    given = {"port": 0, "aggregator": aggregator, "shutdown_deadline_s": 5, **settings}
    ingest = Ingest(IngestSettings(**given))
    await ingest.start(on_failure=lambda: None)
    try:
        yield ingest
    finally:
        await ingest.stop()


@contextlib.asynccontextmanager
async def open_stub(
    port: int, options: Options | None = None
) -> AsyncIterator[MarketDataServiceAsyncStub]:
    """Connect to an aggregator for the time of the context."""
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options or client_options())
    async with channel:
        yield MarketDataServiceStub(channel)


@contextlib.asynccontextmanager
async def open_channel(port: int) -> AsyncIterator[Any]:
    """Connect to an aggregator with calls of any type for the time of the context."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel


@contextlib.asynccontextmanager
async def connect(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect a producer for the time of the context."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def send(port: int, ticks: Iterable[wire.Tick]) -> None:
    """Send ``ticks`` over a connection of their own and wait until the server has closed it."""
    async with connect(port) as (reader, writer):
        writer.write(b"".join(map(frame, ticks)))
        writer.write_eof()
        await reader.read()


async def wait_closed(reader: asyncio.StreamReader) -> None:
    """Wait until the server has closed the connection without having sent anything."""
    async with asyncio.timeout(TIMEOUT_S):
        # What we wrote after the server closed makes the end a reset.
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""


async def wait_for_trades(aggregator: Aggregator, symbol: str, trades: int) -> wire.Aggregate:
    """Wait until the aggregator counts at least ``trades`` of ``symbol``."""
    watcher = aggregator.watchers.open()
    try:
        aggregator.watchers.watch(watcher, [symbol])
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                aggregate = aggregator.market.book.aggregate(symbol)
                if aggregate is not None and aggregate.trades >= trades:
                    return aggregate
                await watcher.next_states(1)
    finally:
        aggregator.watchers.close(watcher)
