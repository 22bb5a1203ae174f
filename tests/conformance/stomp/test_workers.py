"""sockjs-client and stompjs at a gateway of two processes: each request may land at either."""

from __future__ import annotations

import json

import pytest

from tests.conformance.node_tools import need_chromium, need_node, node_script, run_node
from tests.conformance.stomp.test_stompjs import (
    CROSS_ORIGIN,
    PAGE_ELSEWHERE,
    SAME_ORIGIN,
    TRANSPORTS,
    expected,
    play,
)
from tests.doubles.workers import run_workers

SESSIONS = 24
SIGNALS = 15
ROUNDS = 2


@pytest.fixture(scope="module", autouse=True)
def node() -> None:
    need_node()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_many_sessions_in_node_get_every_message_once_and_in_order(transport: str) -> None:
    # 24 sessions are in one worker once in eight million times.
    async with run_workers(2) as workers:
        arguments = workers.address, transport, str(SESSIONS), str(SIGNALS)
        ended = json.loads(await run_node("stomp_sessions.cjs", *arguments))
        assert (
            ended
            == [
                {
                    "used": transport,
                    "code": 1000,
                    "count": SESSIONS * SIGNALS,
                    "senders": SESSIONS,
                    "inOrder": True,
                }
            ]
            * SESSIONS
        )
        assert await workers.service.stop() == 0
        assert [line for line in workers.service.logs if line.get("level") != "info"] == []


async def test_in_chromium_from_a_page_of_the_server() -> None:
    await _visit("", ["plain", *TRANSPORTS, *SAME_ORIGIN])


async def test_in_chromium_from_a_page_of_another_site_that_is_allowed() -> None:
    await _visit(PAGE_ELSEWHERE, ["plain", *TRANSPORTS, *CROSS_ORIGIN])


async def _visit(page: str, transports: list[str]) -> None:
    chromium = need_chromium()
    # Each session is of either worker, by its id.
    visits = transports * ROUNDS
    async with run_workers(2, GATEWAY_ALLOWED_ORIGINS=page) as workers:
        await workers.feed.price("AAPL", 10.0)
        origin = page or f"http://{workers.address}"
        arguments = (chromium, workers.address, origin, *visits)
        async with node_script("stomp_browser.mjs", *arguments) as script:
            for transport in visits:
                seen = await play(script, workers.feed)
                plain = transport == "plain"
                used, protocol = (None, "v12.stomp") if plain else (transport, None)
                assert seen == expected(used, "1.2", protocol)
        assert await workers.service.stop() == 0
        assert [line for line in workers.service.logs if line.get("level") != "info"] == []
