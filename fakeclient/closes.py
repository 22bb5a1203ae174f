"""Ask an aggregator where the prices were, so that a walk can go on from there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import grpc

from marketdata.channel import client_options
from marketdata.wire.market_data_pb2 import BarsRequest
from marketdata.wire.market_data_pb2_grpc import MarketDataServiceStub

if TYPE_CHECKING:
    from marketdata.wire.market_data_pb2_grpc import MarketDataServiceAsyncStub

# All questions together. A feed that starts at its own prices is better than one that waits.
TIMEOUT_S = 3.0
# Questions at once; the aggregator answers some thousand per second.
AT_ONCE = 50
INTERVAL = "1m"


async def last_prices(
    address: str, symbols: Sequence[str], timeout_s: float = TIMEOUT_S
) -> Mapping[str, float]:
    """Return the newest close of each symbol that the aggregator at ``address`` answers for.

    A symbol without bars is left out; so are all without an aggregator, and those that the time
    is too short for.
    """
    prices: dict[str, float] = {}
    gate = asyncio.Semaphore(AT_ONCE)

    async def ask(stub: MarketDataServiceAsyncStub, symbol: str) -> None:
        request = BarsRequest(symbol=symbol, interval=INTERVAL, limit=1, include_partial=True)
        async with gate:
            with suppress(grpc.aio.AioRpcError):
                for bar in (await stub.GetBars(request)).bars:
                    prices[symbol] = bar.close

    async with grpc.aio.insecure_channel(address, client_options()) as channel:
        stub = MarketDataServiceStub(channel)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as tasks:
                for symbol in symbols:
                    tasks.create_task(ask(stub, symbol))
    return prices
