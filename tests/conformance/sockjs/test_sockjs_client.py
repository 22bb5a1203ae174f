"""The browser's own library, sockjs-client, over every transport that it has in Node."""

from __future__ import annotations

import json

import pytest

from tests.conformance.node_tools import need_node, run_node
from tests.conformance.sockjs.harness import Harness


@pytest.fixture(scope="module", autouse=True)
def node() -> None:
    need_node()


@pytest.mark.parametrize("transport", ["websocket", "xhr-streaming", "eventsource", "xhr-polling"])
async def test_sockjs_client_gets_back_whatever_it_sends(
    port: int, harness: Harness, transport: str
) -> None:
    output = await run_node("sockjs_client.cjs", f"http://127.0.0.1:{port}/echo", transport)
    assert json.loads(output) == {
        "used": transport,
        "echo": ["hello"],
        "closedByUs": [3001, "bye"],
        "closedByServer": [4321, "farewell"],
        "unicode": True,
        "large": True,
        "many": True,
    }
    assert len(harness.handlers) == 5
