"""Live clients that come in a storm: how many are admitted, and how the others come back."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from httpx_sse import aconnect_sse
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from benchmarks.harness import Service
from benchmarks.reconnect import Plan, run
from tests.doubles.pipeline import TIMEOUT_S
from tests.doubles.processes import run_gateway as run_gateway_process
from tests.doubles.processes import run_service
from tests.integration.gateway.streams import open_websocket, run_gateway

STREAM = "/api/v1/stream"
NOBODY = "127.0.0.1:1"


def check_retry(headers: Any) -> None:
    assert 1 <= int(headers["Retry-After"]) <= 6


@pytest.mark.parametrize(
    "path", [STREAM, "/ws/marketdata", "/graphql", "/ws", "/ws/0/session/websocket"]
)
async def test_websockets_over_the_rate_get_503_and_a_time(path: str) -> None:
    async with (
        run_gateway(NOBODY, admission_rate=0.01, admission_burst=1) as gateway,
        open_websocket(gateway, STREAM),
    ):
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://{gateway.address}{path}", proxy=None)
        assert refused.value.response.status_code == 503
        check_retry(refused.value.response.headers)


async def test_other_live_clients_over_the_rate_get_503_and_requests_their_answer() -> None:
    async with (
        run_gateway(NOBODY, admission_rate=0.01, admission_burst=1) as gateway,
        httpx.AsyncClient(
            trust_env=False, timeout=TIMEOUT_S, base_url=f"http://{gateway.address}"
        ) as http,
        open_websocket(gateway, STREAM),
    ):
        for refused in (
            await http.get(f"{STREAM}?symbols=AAPL"),
            await http.post("/ws/0/session/xhr"),
        ):
            assert refused.status_code == 503
            check_retry(refused.headers)
        assert (await http.get("/api/v1/marketdata/AAPL")).status_code == 200
        status = (await http.get("/api/v1/status")).json()
        assert status["gateway"]["refused"] == {"full": "0", "rate": "2", "stopping": "0"}


async def test_an_eventsource_over_the_rate_comes_back_by_itself() -> None:
    # It would never connect again after a 503.
    async with (
        run_gateway(NOBODY, admission_rate=0.01, admission_burst=1) as gateway,
        httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_S) as http,
        open_websocket(gateway, STREAM),
    ):
        url = f"http://{gateway.address}{STREAM}?symbols=AAPL"
        async with aconnect_sse(http, "GET", url) as source:
            assert source.response.status_code == 200
            text = (await source.response.aread()).decode()
        comment, retry, *rest = text.split("\n")
        assert comment == ": too many clients connect at the same time"
        assert retry in {f"retry: {1000 * seconds}" for seconds in range(1, 7)}
        assert rest == ["", ""]


async def test_a_client_is_admitted_again_when_its_time_has_come() -> None:
    async with (
        run_gateway(NOBODY, admission_rate=20, admission_burst=1) as gateway,
        open_websocket(gateway, STREAM),
    ):

        async def come_back() -> None:
            while True:
                try:
                    async with open_websocket(gateway, STREAM):
                        return
                except InvalidStatus:
                    await asyncio.sleep(0.01)

        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.gather(*(come_back() for _ in range(5)))


async def test_300_clients_that_are_cut_at_once_come_back_without_a_hole_or_a_repeat() -> None:
    plan = Plan(clients=300, symbols=30, rate=300)
    async with run_service("aggregator", {"AGGREGATOR_PORT": "0"}) as aggregator:
        port = await aggregator.wait_for_port()
        # So few that most are refused at first.
        env = {"GATEWAY_ADMISSION_RATE": "100", "GATEWAY_ADMISSION_BURST": "60"}
        async with run_gateway_process(port, **env) as (gateway, http):
            service = Service(gateway.process.pid, http.base_url.port or 0)
            returned, _ = await run(plan, f"127.0.0.1:{port}", service)
    assert returned.recovered == plan.clients
    assert len(returned.times_s) == plan.clients
    assert returned.refused > 0
    assert max(returned.times_s) < TIMEOUT_S
