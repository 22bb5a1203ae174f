"""@stomp/stompjs, which browsers use, in Node and in Chromium, over all transports it can have."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conformance.node_tools import (
    Script,
    need_chromium,
    need_node,
    node_script,
    run_node,
)
from tests.integration.gateway.live import Feed, live

PAGE_ELSEWHERE = "http://page.test"
TRANSPORTS = ["websocket", "xhr-streaming", "eventsource", "xhr-polling"]
# What a page of the server itself can use besides, and what a page of another site can: there, an
# iframe of the server's talks to the server.
SAME_ORIGIN = ["htmlfile", "jsonp-polling"]
CROSS_ORIGIN = ["iframe-eventsource", "iframe-htmlfile", "iframe-xhr-polling", "jsonp-polling"]


@pytest.fixture(scope="module", autouse=True)
def node() -> None:
    need_node()


async def play(script: Script, feed: Feed) -> dict[str, Any]:
    """Do the server's part of the scenario; return what the client saw."""
    assert (await script.next())["step"] == "subscribed"
    await feed.price("AAPL", 163.25)
    said = await script.next()
    assert said["step"] == "done"
    seen: dict[str, Any] = said["result"]
    # The feed goes on from one scenario to the next.
    await feed.price("AAPL", 10.0)
    return seen


def expected(used: str | None, version: str, protocol: str | None = None) -> dict[str, Any]:
    signal = {"type": "OFFER", "senderId": "ann", "targetId": "bob", "candidate": None}
    types = ["string", "string"]
    return {
        "version": version,
        "states": [{"close": 10, "types": types}, {"close": 163.25, "types": types}],
        "signals": [signal | {"sdp": "v=0\r\no=📈 \u2028\0"}],
        "statuses": [{"status": "live"}],
        "errors": [],
        "used": used,
        "protocol": protocol,
        "close": 1000,
    }


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
async def test_in_node_over_a_plain_websocket(version: str) -> None:
    async with live() as (address, feed):
        await feed.price("AAPL", 10.0)
        async with node_script("stomp_client.mjs", address, "plain", version) as script:
            seen = await play(script, feed)
    assert seen == expected(None, version, f"v{version.replace('.', '')}.stomp")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_in_node_over_sockjs(transport: str) -> None:
    async with live() as (address, feed):
        await feed.price("AAPL", 10.0)
        async with node_script("stomp_client.mjs", address, transport, "1.2") as script:
            seen = await play(script, feed)
    assert seen == expected(transport, "1.2")


async def test_in_chromium_from_a_page_of_the_server() -> None:
    chromium = need_chromium()
    transports = ["plain", *TRANSPORTS, *SAME_ORIGIN]
    async with live() as (address, feed):
        await feed.price("AAPL", 10.0)
        arguments = (chromium, address, f"http://{address}", *transports)
        async with node_script("stomp_browser.mjs", *arguments) as script:
            for transport in transports:
                seen = await play(script, feed)
                assert seen["errors"] == []
                assert seen == _expected_in_browser(transport)


async def test_in_chromium_from_a_page_of_another_site_that_is_allowed() -> None:
    chromium = need_chromium()
    transports = ["plain", *TRANSPORTS, *CROSS_ORIGIN]
    async with live(allowed_origins=PAGE_ELSEWHERE) as (address, feed):
        await feed.price("AAPL", 10.0)
        arguments = (chromium, address, PAGE_ELSEWHERE, *transports)
        async with node_script("stomp_browser.mjs", *arguments) as script:
            for transport in transports:
                assert await play(script, feed) == _expected_in_browser(transport)


def _expected_in_browser(transport: str) -> dict[str, Any]:
    if transport == "plain":
        return expected(None, "1.2", "v12.stomp")
    return expected(transport, "1.2")


SESSIONS = 24
SIGNALS = 15


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_many_sessions_in_node_get_every_message_once_and_in_order(transport: str) -> None:
    async with live() as (address, _):
        arguments = address, transport, str(SESSIONS), str(SIGNALS)
        ended = json.loads(await run_node("stomp_sessions.cjs", *arguments))
    session = {
        "used": transport,
        "code": 1000,
        "count": SESSIONS * SIGNALS,
        "senders": SESSIONS,
        "inOrder": True,
    }
    assert ended == [session] * SESSIONS
