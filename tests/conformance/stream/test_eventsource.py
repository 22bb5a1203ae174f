"""The browsers' EventSource, as npm's package of that name, comes back by itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from gateway.app import running_gateway
from gateway.settings import GatewaySettings
from tests.conformance.node_tools import FOLDER, need_node
from tests.doubles.link import open_link
from tests.doubles.pipeline import TIMEOUT_S
from tests.integration.gateway.streams import run_market


@pytest.fixture(scope="module", autouse=True)
def node() -> None:
    need_node()


class Listener:
    """A running EventSource, and what it says."""

    def __init__(self, output: asyncio.StreamReader) -> None:
        self._output = output

    async def next(self, event: str) -> Any:
        """Return the next event of a name; those before it are thrown away."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                line = orjson.loads(await self._output.readline())
                if line["event"] == event:
                    return line


@contextlib.asynccontextmanager
async def listen(url: str) -> AsyncIterator[Listener]:
    process = await asyncio.create_subprocess_exec(
        *need_node().node,
        "eventsource_client.mjs",
        url,
        cwd=FOLDER,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        yield Listener(process.stdout)
    finally:
        process.kill()
        await process.communicate()


async def test_an_eventsource_that_is_cut_misses_nothing() -> None:
    async with run_market() as (gateway, _, producer):
        host, port = gateway.address.rsplit(":", 1)
        await producer.publish("AAPL")
        async with open_link(host, int(port)) as link:
            url = f"http://{link.address}/api/v1/stream?symbols=AAPL,MSFT&policy=buffer"
            async with listen(url) as listener:
                assert (await listener.next("status"))["data"]["status"] == "live"
                update = await listener.next("update")
                for cut in (1, 2):
                    assert update["id"].endswith(f":AAPL={3 * cut - 2}")
                    link.drop()
                    for _ in range(3):
                        await producer.publish("AAPL")
                    for number in range(3):
                        update = await listener.next("update")
                        assert update["data"]["recovered"] is True
                        assert update["data"]["sequence"] == str(3 * cut - 1 + number)
        await gateway.wait_until_left()


async def test_an_eventsource_that_comes_back_to_another_gateway_misses_nothing() -> None:
    async with run_market() as (gateway, aggregator, producer):
        await producer.publish("AAPL")
        host, port = gateway.address.rsplit(":", 1)
        async with open_link(host, int(port)) as link:
            url = f"http://{link.address}/api/v1/stream?symbols=AAPL"
            async with listen(url) as listener:
                await listener.next("update")
                settings = {"port": 0, "aggregator": f"127.0.0.1:{aggregator.port}"}
                second = running_gateway(GatewaySettings.model_validate(settings))
                async with second as address:
                    second_host, second_port = address.rsplit(":", 1)
                    link.lead_to(second_host, int(second_port))
                    link.drop()
                    await listener.next("open")
                    await producer.publish("AAPL")
                    # The second gateway never saw the first state, and can tell by its number.
                    assert (await listener.next("update"))["data"]["recovered"] is True
