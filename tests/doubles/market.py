"""A gateway on a real aggregator, and trades for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx

from gateway.app import running_gateway
from gateway.settings import GatewaySettings
from tests.doubles.pipeline import TIMEOUT_S, make_tick, open_stub, run_aggregator
from tests.doubles.ports import free_port


class Market:
    """The address of a gateway, and verbs for what happens behind it.

    ::

        await market.trade("AAPL", 150.0, 151.0)  # each price becomes a state of its own
        await market.close()  # the aggregator goes, with all it knows
        await market.open()  # another comes, on the same port

    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._aggregator = contextlib.AsyncExitStack()
        self.address = ""

    @property
    def url(self) -> str:
        """Where GraphQL is."""
        return f"http://{self.address}/graphql"

    async def open(self) -> None:
        """Let an aggregator run."""
        await self._aggregator.enter_async_context(run_aggregator(port=self._port))

    async def close(self) -> None:
        """End the aggregator."""
        await self._aggregator.aclose()

    async def trade(self, symbol: str, *prices: float) -> None:
        """Return when the aggregator has a tick per price."""
        async with open_stub(self._port) as stub:
            for price in prices:
                ack = await stub.StreamTicks(iter([make_tick(symbol, price)]))
                assert ack.success


@contextlib.asynccontextmanager
async def run_market(**settings: Any) -> AsyncIterator[Market]:
    """Run both for the time of the context, without a rate limit unless told otherwise."""
    port = free_port()
    market = Market(port)
    values = {"port": 0, "aggregator": f"127.0.0.1:{port}", "rate_limit": 0, **settings}
    try:
        await market.open()
        async with (
            asyncio.timeout(2 * TIMEOUT_S),
            running_gateway(GatewaySettings.model_validate(values)) as market.address,
        ):
            await until_live(market.address)
            yield market
    finally:
        await market.close()


async def until_live(address: str) -> None:
    """Ask the gateway at ``address`` until it follows the aggregator, which it does in its time."""
    async with httpx.AsyncClient(trust_env=False) as http, asyncio.timeout(TIMEOUT_S):
        while True:
            status = (await http.get(f"http://{address}/api/v1/status")).json()
            if status["gateway"]["feed"] == "live":
                return
            await asyncio.sleep(0.01)
