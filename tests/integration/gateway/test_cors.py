"""What pages of other origins may read over HTTP."""

from __future__ import annotations

from tests.integration.gateway.doubles import AAPL, FakeAggregator, http_to_gateway

PATH = "/api/v1/marketdata/AAPL"
PAGE = {"Origin": "https://app.example.com"}
PREFLIGHT = PAGE | {
    "Access-Control-Request-Method": "GET",
    "Access-Control-Request-Headers": "x-request-id",
}


async def test_by_default_no_other_page_may_read_anything(aggregator: FakeAggregator) -> None:
    aggregator.hold(AAPL)
    async with http_to_gateway(aggregator) as http:
        response = await http.get(PATH, headers=PAGE)
        preflight = await http.options(PATH, headers=PREFLIGHT)
    assert response.status_code == 200
    for headers in (response.headers, preflight.headers):
        assert not [name for name in headers if name.startswith("access-control-")]


async def test_pages_of_an_allowed_origin_may(aggregator: FakeAggregator) -> None:
    aggregator.hold(AAPL)
    async with http_to_gateway(aggregator, allowed_origins="https://app.example.com") as http:
        response = await http.get(PATH, headers=PAGE)
        missing = await http.get("/nothing", headers=PAGE)
        preflight = await http.options(PATH, headers=PREFLIGHT)
        other = await http.get(PATH, headers={"Origin": "https://evil.example"})
    for headers in (response.headers, missing.headers, preflight.headers):
        assert headers["access-control-allow-origin"] == "https://app.example.com"
        assert "Origin" in headers["vary"]
    assert "X-Data-Status" in response.headers["access-control-expose-headers"]
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-headers"] == "x-request-id"
    assert "access-control-allow-origin" not in other.headers


async def test_a_star_allows_every_page(aggregator: FakeAggregator) -> None:
    aggregator.hold(AAPL)
    async with http_to_gateway(aggregator, allowed_origins="*") as http:
        response = await http.get(PATH, headers=PAGE)
    assert response.headers["access-control-allow-origin"] == "*"
