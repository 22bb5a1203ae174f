"""A WebSocket that upgrades and then says nothing is closed in time."""

from __future__ import annotations

import asyncio

import pytest
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from tests.integration.gateway.doubles import running_aggregator
from tests.integration.gateway.live import gateway_to

TIMEOUT_S = 30
TIMED_OUT = 4408

ENDPOINTS = {
    "stream": ("/api/v1/stream", ""),
    "STOMP": ("/ws", "v12.stomp"),
    "STOMP in a raw WebSocket of SockJS": ("/ws/websocket", "v12.stomp"),
    "STOMP in SockJS": ("/ws/000/silent/websocket", ""),
    "GraphQL": ("/graphql", "graphql-transport-ws"),
}


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_websocket_that_says_nothing_is_closed(endpoint: str) -> None:
    path, protocol = ENDPOINTS[endpoint]
    protocols = [Subprotocol(protocol)] if protocol else None
    async with running_aggregator() as aggregator:
        port = int(aggregator.address.rpartition(":")[2])
        async with (
            gateway_to(port, first_message_timeout_s=0.1) as address,
            connect(f"ws://{address}{path}", subprotocols=protocols, proxy=None) as client,
            asyncio.timeout(TIMEOUT_S),
        ):
            await client.wait_closed()
            assert client.close_code == TIMED_OUT


@pytest.mark.parametrize("path", ["/ws/marketdata", "/api/v1/stream?symbols=AAPL"])
async def test_a_client_that_has_nothing_to_say_stays(path: str) -> None:
    async with running_aggregator() as aggregator:
        port = int(aggregator.address.rpartition(":")[2])
        async with (
            gateway_to(port, first_message_timeout_s=0.05) as address,
            connect(f"ws://{address}{path}", proxy=None) as client,
            connect(f"ws://{address}/api/v1/stream", proxy=None) as silent,
        ):
            # It would have been closed before the one that connected after it.
            await asyncio.wait_for(silent.wait_closed(), TIMEOUT_S)
            await asyncio.wait_for(await client.ping(), TIMEOUT_S)


async def test_any_message_is_enough() -> None:
    async with running_aggregator() as aggregator:
        port = int(aggregator.address.rpartition(":")[2])
        async with (
            gateway_to(port, first_message_timeout_s=0.2) as address,
            connect(f"ws://{address}/api/v1/stream", proxy=None) as client,
        ):
            await client.send('{"type":"ping"}')
            async with connect(f"ws://{address}/api/v1/stream", proxy=None) as silent:
                await asyncio.wait_for(silent.wait_closed(), TIMEOUT_S)
            await asyncio.wait_for(await client.ping(), TIMEOUT_S)
