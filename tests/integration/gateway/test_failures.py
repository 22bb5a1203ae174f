"""The REST column of the failure table, over real HTTP and real gRPC."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

import grpc
import httpx
import pytest
from structlog.testing import capture_logs

from tests.integration.gateway.doubles import (
    AAPL,
    FakeAggregator,
    http_to_gateway,
    running_aggregator,
)

AAPL_PATH = "/api/v1/marketdata/AAPL"
EMPTY_AAPL = (
    b'{"symbol":"AAPL","open":null,"high":null,"low":null,"close":null,"volume":null,'
    b'"timestamp":null,"timestampNs":null,"trades":null,"vwap":null,"complete":null,'
    b'"coverage":null,"refused":null,"sequence":null,"epoch":null}'
)
# For tests that are not about time.
QUICK: dict[str, Any] = {"retry_wait_s": 0.01, "attempt_timeout_s": 0.2}


def assert_fallback(response: httpx.Response) -> None:
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-data-status"] == "fallback"
    assert "age" not in response.headers
    assert response.content == EMPTY_AAPL


def assert_unavailable(response: httpx.Response) -> None:
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert int(response.headers["retry-after"]) >= 1
    assert "x-data-status" not in response.headers
    assert response.json()["type"] == "urn:market-data:aggregator-unavailable"


async def test_without_an_aggregator_at_start_the_gateway_serves_the_fallback(
    aggregator: FakeAggregator,
) -> None:
    await aggregator.go_down()
    async with http_to_gateway(aggregator, breaker_open_s=0.1, **QUICK) as http:
        assert_fallback(await http.get(AAPL_PATH))
        aggregator.hold(AAPL)
        await aggregator.come_back()
        await until_live(http, within_s=10)


async def test_an_aggregator_that_goes_away_leaves_the_fallback(aggregator: FakeAggregator) -> None:
    aggregator.hold(AAPL)
    async with http_to_gateway(aggregator, **QUICK) as http:
        assert (await http.get(AAPL_PATH)).headers["x-data-status"] == "live"
        await aggregator.go_down()
        for _ in range(3):
            assert_fallback(await http.get(AAPL_PATH))


async def test_each_symbol_of_a_list_falls_back(aggregator: FakeAggregator) -> None:
    await aggregator.go_down()
    async with http_to_gateway(aggregator, **QUICK) as http:
        response = await http.get("/api/v1/marketdata?symbols=MSFT,AAPL")
    assert (response.status_code, response.headers["x-data-status"]) == (200, "fallback")
    body = response.json()
    assert [each["symbol"] for each in body["aggregates"]] == ["MSFT", "AAPL"]
    assert {
        value for each in body["aggregates"] for key, value in each.items() if key != "symbol"
    } == {None}
    assert body["unknown"] == []


async def test_the_list_of_symbols_is_503_because_none_can_be_invented(
    aggregator: FakeAggregator,
) -> None:
    await aggregator.go_down()
    async with http_to_gateway(aggregator, **QUICK) as http:
        assert_unavailable(await http.get("/api/v1/symbols"))


async def test_bad_input_stays_422_while_the_aggregator_is_down(aggregator: FakeAggregator) -> None:
    await aggregator.go_down()
    async with http_to_gateway(aggregator, **QUICK) as http:
        assert (await http.get("/api/v1/marketdata/*A")).status_code == 422


async def test_the_last_fallback_gives_the_last_value_and_its_age(
    aggregator: FakeAggregator,
) -> None:
    aggregator.hold(AAPL)
    async with http_to_gateway(aggregator, fallback="last", **QUICK) as http:
        live = await http.get(AAPL_PATH)
        await aggregator.go_down()
        last = await http.get(AAPL_PATH)
        assert (last.status_code, last.headers["x-data-status"]) == (200, "last")
        assert last.content == live.content
        assert 0 <= int(last.headers["age"]) <= 60
        several = await http.get("/api/v1/marketdata?symbols=NIX,AAPL")
        assert several.headers["x-data-status"] == "last"
        assert 0 <= int(several.headers["age"]) <= 60
        assert [each["close"] for each in several.json()["aggregates"]] == [None, 151.5]
        never_seen = await http.get("/api/v1/marketdata/NIX")
        assert never_seen.headers["x-data-status"] == "fallback"


@pytest.mark.parametrize("path", [AAPL_PATH, "/api/v1/marketdata?symbols=AAPL", "/api/v1/symbols"])
async def test_the_error_fallback_is_503(aggregator: FakeAggregator, path: str) -> None:
    await aggregator.go_down()
    async with http_to_gateway(aggregator, fallback="error", **QUICK) as http:
        assert_unavailable(await http.get(path))


async def test_an_open_breaker_says_in_the_503_when_it_will_ask_again(
    aggregator: FakeAggregator,
) -> None:
    await aggregator.go_down()
    async with http_to_gateway(aggregator, fallback="error", breaker_open_s=100, **QUICK) as http:
        for _ in range(2):
            await http.get(AAPL_PATH)
        response = await http.get(AAPL_PATH)
    assert response.json()["detail"] == "the aggregator is unavailable: circuit breaker is open"
    assert 90 <= int(response.headers["retry-after"]) <= 100


@pytest.mark.alone
async def test_a_hung_aggregator_is_answered_for_within_the_deadline(
    aggregator: FakeAggregator,
) -> None:
    aggregator.hang()
    async with http_to_gateway(aggregator) as http:
        began = monotonic()
        assert_fallback(await http.get(AAPL_PATH))
        took_s = monotonic() - began
    # Three attempts of 0.5 s with two pauses of 0.5 s are the 2.5 s of the deadline.
    assert len(aggregator.calls) == 3
    # Without the deadline it would be answered when the aggregator goes on, which is never.
    assert 2.4 < took_s < 10


async def test_a_hung_attempt_is_made_again_within_the_same_request(
    aggregator: FakeAggregator,
) -> None:
    aggregator.hold(AAPL)
    aggregator.hang()
    async with http_to_gateway(aggregator) as http:
        request = asyncio.create_task(http.get(AAPL_PATH))
        await aggregator.attempts(2)
        aggregator.go_on()
        assert (await request).headers["x-data-status"] == "live"


async def test_after_five_failed_attempts_nothing_is_asked_any_more(
    aggregator: FakeAggregator,
) -> None:
    aggregator.fail(grpc.StatusCode.UNAVAILABLE)
    async with http_to_gateway(aggregator, breaker_open_s=100, **QUICK) as http:
        with capture_logs() as lines:
            for _ in range(20):
                assert_fallback(await http.get(AAPL_PATH))
    assert len(aggregator.calls) == 5
    assert [(line["event"], line["state"]) for line in lines if "state" in line] == [
        ("circuit_breaker_changed", "open")
    ]


async def test_the_breaker_lets_three_probes_through_at_once(aggregator: FakeAggregator) -> None:
    aggregator.hold(AAPL)
    async with http_to_gateway(aggregator, breaker_open_s=1e-6, retry_attempts=1) as http:
        with aggregator.failing(grpc.StatusCode.UNAVAILABLE):
            for _ in range(5):
                await http.get(AAPL_PATH)
        aggregator.calls.clear()
        aggregator.hang()
        requests = [asyncio.create_task(http.get(AAPL_PATH)) for _ in range(10)]
        await aggregator.attempts(1)
        in_the_order_of_their_answers = asyncio.as_completed(requests)
        for _ in range(7):
            assert_fallback(await next(in_the_order_of_their_answers))
        aggregator.go_on()
        for probe in in_the_order_of_their_answers:
            assert (await probe).headers["x-data-status"] == "live"
        # Probes that wait for the same answer are one message.
        assert 1 <= len(aggregator.calls) <= 3
        assert (await http.get(AAPL_PATH)).headers["x-data-status"] == "live"


async def test_unknown_symbols_never_open_the_breaker(aggregator: FakeAggregator) -> None:
    async with http_to_gateway(aggregator) as http:
        for _ in range(20):
            assert (await http.get(AAPL_PATH)).status_code == 404
    # Each answer also asks for the symbol in the other case.
    assert len(aggregator.calls) == 2 * 20


@pytest.mark.alone
async def test_live_data_is_back_within_six_seconds_of_the_aggregators_return(
    aggregator: FakeAggregator,
) -> None:
    aggregator.hold(AAPL)
    async with http_to_gateway(aggregator) as http:
        await aggregator.go_down()
        # The third request finds the breaker open.
        for _ in range(3):
            assert_fallback(await http.get(AAPL_PATH))
        await aggregator.come_back()
        await until_live(http, within_s=6)
        for _ in range(10):
            assert (await http.get(AAPL_PATH)).headers["x-data-status"] == "live"


async def until_live(http: httpx.AsyncClient, within_s: float) -> None:
    """Ask twenty times a second, as clients do, until the answer is live."""
    async with asyncio.timeout(within_s):
        while (await http.get(AAPL_PATH)).headers["x-data-status"] != "live":  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def assert_rate_limited(response: httpx.Response, retry_after: str) -> None:
    assert response.status_code == 429
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["retry-after"] == retry_after
    assert response.json()["type"] == "urn:market-data:rate-limited"


async def test_over_the_limit_is_429_on_every_route_that_asks_the_aggregator(
    aggregator: FakeAggregator,
) -> None:
    async with http_to_gateway(aggregator, rate_limit=0.001) as http:
        assert (await http.get("/api/v1/symbols")).status_code == 200
        for path in (AAPL_PATH, "/api/v1/marketdata?symbols=AAPL", "/api/v1/symbols"):
            assert_rate_limited(await http.get(path), retry_after="1000")
    assert len(aggregator.calls) == 1


async def test_the_default_is_ten_requests_at_once(aggregator: FakeAggregator) -> None:
    aggregator.hold(AAPL)
    async with http_to_gateway(aggregator, rate_limit=10) as http:
        answers = await asyncio.gather(*(http.get(AAPL_PATH) for _ in range(60)))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.status_code for answer in answers} == {200, 429}
    for answer in refused:
        assert_rate_limited(answer, retry_after="1")


async def test_health_and_documentation_are_not_limited(aggregator: FakeAggregator) -> None:
    async with http_to_gateway(aggregator, rate_limit=0.001) as http:
        for path in ("/health/live", "/health/ready", "/openapi.json", "/docs") * 3:
            assert (await http.get(path)).status_code == 200


async def test_readiness_asks_past_an_open_breaker(aggregator: FakeAggregator) -> None:
    aggregator.fail(grpc.StatusCode.UNAVAILABLE)
    async with http_to_gateway(aggregator, breaker_open_s=100, **QUICK) as http:
        for _ in range(3):
            assert_fallback(await http.get(AAPL_PATH))
        assert (await http.get("/health/ready")).status_code == 200


@pytest.mark.parametrize(("scope", "second"), [("global", 429), ("client", 200)])
async def test_by_client_each_address_has_its_own_limit(
    aggregator: FakeAggregator, scope: str, second: int
) -> None:
    settings = {"rate_limit": 0.001, "rate_limit_scope": scope, "trusted_proxies": "127.0.0.1"}
    aggregator.hold(AAPL)
    async with http_to_gateway(aggregator, **settings) as http:
        one = {"X-Forwarded-For": "192.0.2.1"}
        other = {"X-Forwarded-For": "192.0.2.2"}
        assert (await http.get(AAPL_PATH, headers=one)).status_code == 200
        assert (await http.get(AAPL_PATH, headers=one)).status_code == 429
        assert (await http.get(AAPL_PATH, headers=other)).status_code == second


async def test_who_is_no_trusted_proxy_cannot_name_another_client(
    aggregator: FakeAggregator,
) -> None:
    aggregator.hold(AAPL)
    async with http_to_gateway(aggregator, rate_limit=0.001, rate_limit_scope="client") as http:
        statuses = [
            (await http.get(AAPL_PATH, headers={"X-Forwarded-For": f"192.0.2.{i}"})).status_code
            for i in range(3)
        ]
    assert statuses == [200, 429, 429]


async def test_two_gateways_in_one_process_have_nothing_in_common(
    aggregator: FakeAggregator,
) -> None:
    async with running_aggregator() as other:
        other.hold(AAPL)
        await aggregator.go_down()
        async with (
            http_to_gateway(aggregator, breaker_open_s=100, **QUICK) as broken,
            http_to_gateway(other, **QUICK) as sound,
        ):
            for _ in range(5):
                assert_fallback(await broken.get(AAPL_PATH))
                assert (await sound.get(AAPL_PATH)).headers["x-data-status"] == "live"
