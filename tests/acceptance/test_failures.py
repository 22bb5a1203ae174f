"""The aggregator goes away, hangs, comes late: what REST says meanwhile, and when it is back."""

from __future__ import annotations

import asyncio
import signal
from time import monotonic
from typing import Any

import httpx
import pytest

from tests.doubles.pipeline import make_tick, send
from tests.doubles.ports import free_port
from tests.doubles.processes import Service, run_backend, run_gateway, run_service

pytestmark = pytest.mark.alone

AAPL = "/api/v1/marketdata/AAPL"
# GATEWAY_DEADLINE_S, and what two busy cores may add to it.
DEADLINE_S = 2.5
SLACK_S = 1.5
RECOVERY_S = 6.0
WINDOW = 10
BREAKER = "circuit_breaker_changed"


async def ask(http: httpx.AsyncClient) -> httpx.Response:
    """Ask for AAPL; the answer must come within the deadline whatever the aggregator does."""
    began = monotonic()
    answer = await http.get(AAPL)
    assert monotonic() - began < DEADLINE_S + SLACK_S
    return answer


def status(answer: httpx.Response) -> str | None:
    found: str | None = answer.headers.get("x-data-status")
    return found


def assert_fallback(answer: httpx.Response) -> None:
    assert (answer.status_code, status(answer)) == (200, "fallback")
    body: dict[str, Any] = answer.json()
    assert body.pop("symbol") == "AAPL"
    assert {"open", "high", "low", "close", "volume", "timestamp"} <= body.keys()
    assert set(body.values()) == {None}


async def until_live(http: httpx.AsyncClient) -> httpx.Response:
    """Ask twenty times a second, as a page that polls would."""
    async with asyncio.timeout(30):
        while status(answer := await ask(http)) != "live":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return answer


async def fill_window_with_successes(http: httpx.AsyncClient) -> None:
    await until_live(http)
    for _ in range(WINDOW):
        assert status(await ask(http)) == "live"


async def ask_until_breaker_opens(gateway: Service, http: httpx.AsyncClient) -> None:
    # The first request makes three attempts at most. Five failures are needed, both after ten
    # successes (5 of the last 10) and from the start (5 calls), so one request never suffices.
    assert_fallback(await ask(http))
    assert gateway.said(BREAKER) == []
    opened = asyncio.create_task(gateway.wait_for_log(BREAKER))
    requests = 1
    while not opened.done():
        assert_fallback(await ask(http))
        requests += 1
    assert (await opened)["state"] == "open"
    # The second fails twice; a machine that stalls for half a second may cost it an attempt, and
    # the log line may reach us after one more answer.
    assert requests <= 4
    # While it is open, nothing is asked and nothing is waited for.
    for _ in range(3):
        assert_fallback(await ask(http))


async def assert_recovery(
    gateway: Service, http: httpx.AsyncClient, returned_at: float
) -> httpx.Response:
    answer = await until_live(http)
    assert monotonic() - returned_at < RECOVERY_S
    # Three probes close the breaker.
    for _ in range(3):
        assert status(await ask(http)) == "live"
    assert (await gateway.wait_for_log(BREAKER))["state"] == "half-open"
    assert (await gateway.wait_for_log(BREAKER))["state"] == "closed"
    return answer


async def test_a_killed_aggregator_is_answered_for_and_live_within_6_s_of_its_return() -> None:
    async with (
        run_backend() as (aggregator, port, ingest, ingest_port),
        run_gateway(port) as (gateway, http),
    ):
        await send(ingest_port, [make_tick(price=10.0)])
        await fill_window_with_successes(http)

        await aggregator.stop(signal.SIGKILL)
        await ask_until_breaker_opens(gateway, http)
        # Ingest keeps it for the aggregator that will come.
        await send(ingest_port, [make_tick(price=11.0)])

        async with run_service("aggregator", {"AGGREGATOR_PORT": str(port)}) as again:
            await again.wait_for_port()
            answer = await assert_recovery(gateway, http, returned_at=monotonic())
            assert answer.json()["close"] == 11.0
            assert await ingest.stop() == 0
            assert ingest.logs[-1]["lost"] == 0


async def test_a_hung_aggregator_is_answered_for_and_live_within_6_s_of_its_return() -> None:
    async with (
        run_backend() as (aggregator, port, _, ingest_port),
        run_gateway(port) as (gateway, http),
    ):
        await send(ingest_port, [make_tick(price=10.0)])
        await fill_window_with_successes(http)

        aggregator.process.send_signal(signal.SIGSTOP)
        await ask_until_breaker_opens(gateway, http)
        await send(ingest_port, [make_tick(price=11.0)])

        aggregator.process.send_signal(signal.SIGCONT)
        # The worst moment to return: the breaker has just opened.
        answer = await assert_recovery(gateway, http, returned_at=monotonic())
        assert answer.json()["close"] == 11.0


async def test_a_gateway_that_starts_first_is_live_within_6_s_of_the_aggregators_start() -> None:
    port = free_port()
    async with run_gateway(port) as (gateway, http):
        await ask_until_breaker_opens(gateway, http)
        ready = await http.get("/health/ready")
        assert (ready.status_code, ready.json()["status"]) == (503, "not ready")
        env = {"INGEST_PORT": "0", "INGEST_AGGREGATOR": f"127.0.0.1:{port}"}
        async with run_service("ingest", env) as ingest:
            await send(await ingest.wait_for_port(), [make_tick(price=10.0)])
            async with run_service("aggregator", {"AGGREGATOR_PORT": str(port)}) as aggregator:
                await aggregator.wait_for_port()
                answer = await assert_recovery(gateway, http, returned_at=monotonic())
                assert answer.json()["close"] == 10.0
                assert (await http.get("/health/ready")).status_code == 200


async def test_an_operator_chooses_what_clients_get_while_the_aggregator_is_away() -> None:
    async with (
        run_backend() as (aggregator, port, _, ingest_port),
        run_gateway(port, GATEWAY_FALLBACK="last") as (_, last),
        run_gateway(port, GATEWAY_FALLBACK="error") as (_, error),
    ):
        await send(ingest_port, [make_tick(price=10.0)])
        live = await until_live(last)
        assert (await until_live(error)).content == live.content

        await aggregator.stop(signal.SIGKILL)
        remembered, refused = await asyncio.gather(ask(last), ask(error))

    assert (remembered.status_code, status(remembered)) == (200, "last")
    assert remembered.content == live.content
    assert 0 <= int(remembered.headers["age"]) <= DEADLINE_S + SLACK_S
    assert refused.status_code == 503
    assert refused.headers["content-type"] == "application/problem+json"
    assert int(refused.headers["retry-after"]) >= 1
    assert status(refused) is None
