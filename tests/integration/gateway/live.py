"""A gateway on a real aggregator, and ticks for it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from gateway.app import running_gateway
from gateway.settings import GatewaySettings
from marketdata.wire import market_data_pb2 as wire
from tests.doubles.pipeline import make_tick, open_stub, run_aggregator
from tests.doubles.stomp import open_stomp

if TYPE_CHECKING:
    from marketdata.wire.market_data_pb2_grpc import MarketDataServiceAsyncStub


class Feed:
    """Ticks into one aggregator."""

    def __init__(self, stub: MarketDataServiceAsyncStub) -> None:
        self._stub = stub

    async def push(self, *ticks: wire.Tick) -> None:
        """Return when the aggregator has them."""
        ack = await self._stub.StreamTicks(iter(ticks))
        assert ack.success

    async def price(self, symbol: str, *prices: float) -> None:
        """Push a tick per price; each becomes a state of its own."""
        for price in prices:
            await self.push(make_tick(symbol, price))


@contextlib.asynccontextmanager
async def feeding(port: int = 0, **settings: Any) -> AsyncIterator[tuple[int, Feed]]:
    """Run an aggregator for the time of the context; give its port and a feed into it."""
    async with (
        # Pages are to show any number: the usual limits are far lower.
        run_aggregator(port=port, max_price=1e307, max_volume=10**17, **settings) as aggregator,
        open_stub(aggregator.port) as stub,
    ):
        yield aggregator.port, Feed(stub)


@contextlib.asynccontextmanager
async def gateway_to(aggregator: int, **settings: Any) -> AsyncIterator[str]:
    """Run a gateway on the aggregator at that port; give its address."""
    values = {"port": 0, "aggregator": f"127.0.0.1:{aggregator}", "rate_limit": 0, **settings}
    async with running_gateway(GatewaySettings.model_validate(values)) as address:
        yield address


@contextlib.asynccontextmanager
async def live(**settings: Any) -> AsyncIterator[tuple[str, Feed]]:
    """Run both; give the gateway's address and the feed."""
    async with feeding() as (port, feed), gateway_to(port, **settings) as address:
        await until_status(address, "live")
        yield address, feed


async def until_status(address: str, status: str) -> None:
    """Return when the gateway at ``address`` says that its feed is ``status``."""
    async with open_stomp(address) as client:
        await client.subscribe("/topic/status")
        while (await client.next()).json != {"status": status}:
            pass
