"""A real server on a free port for each test, and the proof that nothing of it is left behind."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from gateway.clients.direct import DirectWebSocket
from tests.conformance.sockjs.client import Client
from tests.conformance.sockjs.harness import Harness


@pytest.fixture
def harness() -> Harness:
    return Harness()


@pytest.fixture
async def port(harness: Harness) -> AsyncIterator[int]:
    before = other_tasks()
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        harness.app, ws=DirectWebSocket, http="h11", lifespan="off", log_config=None
    )
    config.load()
    # uvicorn's serve() without its signals and its pauses of 0.1 s.
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    yield int(listener.getsockname()[1])
    harness.abort()
    for asyncio_server in server.servers:
        asyncio_server.close()
    async with asyncio.timeout(30):
        while server.server_state.connections or server.server_state.tasks:
            for connection in list(server.server_state.connections):
                connection.shutdown()
            await asyncio.sleep(0.002)
    assert harness.session_count == 0
    assert other_tasks() <= before


def other_tasks() -> set[asyncio.Task[Any]]:
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


@pytest.fixture
async def client(port: int) -> AsyncIterator[Client]:
    async with Client(port) as opened:
        yield opened


@pytest.fixture
def ws_url(port: int) -> str:
    return f"ws://127.0.0.1:{port}"
