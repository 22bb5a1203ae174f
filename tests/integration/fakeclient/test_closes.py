"""A walk goes on from the prices that an aggregator knows."""

from __future__ import annotations

from time import time_ns
from typing import Any

import grpc

from fakeclient.closes import last_prices
from marketdata.wire.market_data_pb2 import Tick
from marketdata.wire.market_data_pb2_grpc import MarketDataServiceStub
from tests.doubles.ports import free_port
from tests.doubles.processes import run_service
from tests.integration.fakeclient.recorder import fakeclient, recorder


async def test_prices_begin_at_the_last_close_the_aggregator_knows() -> None:
    async with run_service("aggregator", {"AGGREGATOR_PORT": "0"}) as aggregator:
        address = f"127.0.0.1:{await aggregator.wait_for_port()}"
        async with grpc.aio.insecure_channel(address) as channel:
            stub: Any = MarketDataServiceStub(channel)
            ticks = [
                Tick(symbol="AAPL", price=price, volume=1, exchange_timestamp=time_ns())
                for price in (9.0, 7.77)
            ]
            await stub.StreamTicks(iter(ticks))
        assert await last_prices(address, ("AAPL", "MSFT")) == {"AAPL": 7.77}

        async with recorder() as server:
            result = await fakeclient(
                *("--server", server.address, "--symbols", "AAPL", "--limit", 1),
                *("--continue-from", address),
            )
            (tick,) = server.ticks
    assert tick.price in {7.77, 7.78}
    assert "going on from the last prices of 1 symbols" in result.lines


async def test_without_an_answer_there_are_no_prices() -> None:
    assert await last_prices(f"127.0.0.1:{free_port()}", ("AAPL",), timeout_s=0.5) == {}
