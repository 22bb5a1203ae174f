"""Clients from npm whose gateway restarts: they are told, and come back by themselves."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from tests.conformance.node_tools import FOLDER, need_node
from tests.doubles.processes import bound
from tests.integration.gateway.live import feeding, gateway_to, until_status

STOMP = ["stompjs plain", "stompjs websocket", "stompjs xhr-streaming"]
CLIENTS = [*STOMP, "graphql-ws", "eventsource"]
REASON = re.compile(r"server-shutdown; reconnectAfterMs=\d+")
TIMEOUT_S = 60


@pytest.fixture(scope="module", autouse=True)
def node() -> None:
    need_node()


class Told:
    """What the clients say."""

    def __init__(self, output: asyncio.StreamReader) -> None:
        self._output = output
        self.farewells: dict[str, int] = {}
        # The first code of each.
        self.closes: dict[str, tuple[int, str]] = {}

    async def until_all_have(self, price: float) -> None:
        """Return when every client has a price."""
        waiting = set(CLIENTS)
        async with asyncio.timeout(TIMEOUT_S):
            while waiting:
                said: dict[str, Any] = orjson.loads(await self._output.readline())
                name = said["client"]
                assert "failed" not in said, said
                if said.get("close") == price:
                    waiting.discard(name)
                if "told" in said:
                    self.farewells[name] = said["told"]
                if "code" in said and name not in self.closes:
                    self.closes[name] = said["code"], said["reason"]


@contextlib.asynccontextmanager
async def run_clients(address: str) -> AsyncIterator[Told]:
    """Run all clients for the time of the context."""
    process = await asyncio.create_subprocess_exec(
        *bound(*need_node().node, "restart_clients.mjs", address),
        cwd=FOLDER,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield Told(process.stdout)
    finally:
        process.kill()
        await process.communicate()


async def test_a_restarted_gateway_has_all_its_clients_again() -> None:
    async with contextlib.AsyncExitStack() as clients, feeding() as (aggregator, feed):
        await feed.price("AAPL", 10.0)
        async with gateway_to(aggregator) as address:
            await until_status(address, "live")
            told = await clients.enter_async_context(run_clients(address))
            await told.until_all_have(10.0)
        port = int(address.rpartition(":")[2])
        async with gateway_to(aggregator, port=port):
            await feed.price("AAPL", 20.0)
            await told.until_all_have(20.0)
    # GraphQL has no message for it.
    assert set(told.farewells) == set(CLIENTS) - {"graphql-ws"}
    assert all(1000 <= after_ms <= 6000 for after_ms in told.farewells.values())
    for name in [*STOMP, "graphql-ws"]:
        code, reason = told.closes[name]
        assert code == 1012
        assert REASON.fullmatch(reason)
