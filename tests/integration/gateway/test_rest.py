"""The REST endpoint over real HTTP, with an aggregator that answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from marketdata.wire.market_data_pb2 import AggregatesRequest
from tests.integration.gateway.doubles import AAPL, FakeAggregator, http_to_gateway


@pytest.fixture
async def http(aggregator: FakeAggregator) -> AsyncIterator[httpx.AsyncClient]:
    async with http_to_gateway(aggregator) as http:
        yield http


def problem(response: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """Check what every problem must have, and return it."""
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert body["type"] == (kind if kind == "about:blank" else f"urn:market-data:{kind}")
    assert body["title"]
    assert body["detail"]
    assert body["instance"] == response.request.url.raw_path.decode().partition("?")[0]
    return body


def wrong_fields(body: dict[str, object]) -> list[str]:
    errors = body["errors"]
    assert isinstance(errors, list)
    assert all(set(error) == {"field", "detail"} for error in errors)
    return [error["field"] for error in errors]


async def send_raw(http: httpx.AsyncClient, target: bytes) -> tuple[int, bytes]:
    """Ask for ``target`` byte for byte; return status and body."""
    reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
    writer.write(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return int(head.split()[1]), body


async def test_a_symbol_is_answered_in_exactly_the_documented_json(
    aggregator: FakeAggregator, http: httpx.AsyncClient
) -> None:
    aggregator.hold(AAPL)
    response = await http.get("/api/v1/marketdata/AAPL")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-data-status"] == "live"
    assert "age" not in response.headers
    assert response.content == (
        b'{"symbol":"AAPL","open":150.25,"high":152.1,"low":149.8,"close":151.5,'
        b'"volume":"1000000","timestamp":"1735201234567",'
        b'"timestampNs":"1735201234567890123","trades":"4711","vwap":150.98,'
        b'"complete":false,"coverage":"partial","refused":"0","sequence":"42","epoch":"7"}'
    )


@pytest.mark.parametrize(
    ("segment", "symbol"),
    [
        (b"BRK%2FB", "BRK/B"),
        (b"BRK%2fB", "BRK/B"),
        (b"brk%2Fb", "brk/b"),
        (b"BRK.B", "BRK.B"),
        (b"%5EGSPC", "^GSPC"),
        (b"^GSPC", "^GSPC"),
        (b"ES%3DF", "ES=F"),
        (b"ES=F", "ES=F"),
        (b"EUR%2FUSD", "EUR/USD"),
        (b"C%3AEURUSD", "C:EURUSD"),
        (b"C:EURUSD", "C:EURUSD"),
        (b"SPY%2Bx", "SPY+x"),
        (b"SPY+x", "SPY+x"),
        (b"%24TICK", "$TICK"),
        (b"A%40B", "A@B"),
        (b"A%2Fbars", "A/bars"),
        (b"A%2F..%2FB", "A/../B"),
        (b"%20aApL%09", "aApL"),
        (b"A" * 64, "A" * 64),
        (b"AAPL%20%20251219C00150000", "AAPL  251219C00150000"),
        (b"M%26M.NS", "M&M.NS"),
        (b"M&M.NS", "M&M.NS"),
        (b"%2FES", "/ES"),
        (b"CL1!", "CL1!"),
        (b"ES%2012-25", "ES 12-25"),
        (b"%23VIX", "#VIX"),
        (b"BTC~USD", "BTC~USD"),
        (b"A%3FB", "A?B"),
        (b"BRK%252FB", "BRK%2FB"),
        (b"A%25", "A%"),
        (b"%3Cb%3E%27%5B1%5D%60%7B%7C%7D", "<b>'[1]`{|}"),
        (b"bars", "bars"),
    ],
)
async def test_a_symbol_may_be_written_in_any_way_a_url_allows(
    aggregator: FakeAggregator, http: httpx.AsyncClient, segment: bytes, symbol: str
) -> None:
    aggregator.set(symbol, close=1.5)
    status, body = await send_raw(http, b"/api/v1/marketdata/" + segment)
    assert status == 200
    assert httpx.Response(200, content=body).json()["symbol"] == symbol


@pytest.mark.parametrize(
    "target",
    [
        b"/api/v1/marketdata/BRK%2FB/other",
        b"/api/v1/marketdata/BRK/B",
        b"/api/v1/marketdata/AAPL/",
        b"/api/v1/marketdata/",
        b"/api%2Fv1/marketdata/AAPL",
    ],
)
async def test_only_a_real_slash_ends_a_symbol(
    aggregator: FakeAggregator, http: httpx.AsyncClient, target: bytes
) -> None:
    status, body = await send_raw(http, target)
    assert (status, b'"about:blank"' in body) == (404, True)
    assert aggregator.calls == []


async def test_an_unknown_symbol_is_404(http: httpx.AsyncClient) -> None:
    body = problem(await http.get("/api/v1/marketdata/NIX"), 404, "unknown-symbol")
    assert body["detail"] == "there is no data for symbol NIX"
    assert "errors" not in body


@pytest.mark.parametrize(
    ("asked", "similar"), [("aapl", "AAPL"), ("AaPl", "AAPL"), ("BTCUSDT", "btcusdt")]
)
async def test_a_404_names_the_symbol_in_another_case_if_there_is_one(
    aggregator: FakeAggregator, http: httpx.AsyncClient, asked: str, similar: str
) -> None:
    aggregator.set("AAPL", close=1.5)
    aggregator.set("btcusdt", close=1.5)
    for path in (f"/{asked}", f"/{asked}/bars?interval=1m"):
        body = problem(await http.get(f"/api/v1/marketdata{path}"), 404, "unknown-symbol")
        assert body["detail"] == f"there is no data for symbol {asked}; did you mean {similar}?"


@pytest.mark.parametrize(
    "segment",
    [b"A%2A", b"A*B", b"A" * 65, b"%20", b"A%2CB", b"%C3%A9", b"%FF", b"A%22", b"A%5C", b"%00"],
)
async def test_what_is_no_symbol_is_422_and_never_asked_for(
    aggregator: FakeAggregator, http: httpx.AsyncClient, segment: bytes
) -> None:
    status, body = await send_raw(http, b"/api/v1/marketdata/" + segment)
    assert status == 422
    document = httpx.Response(422, content=body).json()
    assert wrong_fields(document) == ["symbol"]
    assert document["type"] == "urn:market-data:invalid-input"
    assert aggregator.calls == []


async def test_several_symbols_are_one_call_in_the_order_of_the_request(
    aggregator: FakeAggregator, http: httpx.AsyncClient
) -> None:
    aggregator.set("AAPL", close=1.0)
    aggregator.set("BRK/B", close=2.0)
    response = await http.get("/api/v1/marketdata?symbols=BRK%2FB,NIX,AAPL,%20AAPL")
    assert response.status_code == 200
    assert response.headers["x-data-status"] == "live"
    body = response.json()
    assert [each["symbol"] for each in body["aggregates"]] == ["BRK/B", "AAPL"]
    assert [each["close"] for each in body["aggregates"]] == [2.0, 1.0]
    assert body["unknown"] == ["NIX"]
    assert aggregator.calls == [AggregatesRequest(symbols=["BRK/B", "NIX", "AAPL"])]


async def test_a_list_may_also_repeat_the_parameter(
    aggregator: FakeAggregator, http: httpx.AsyncClient
) -> None:
    await http.get("/api/v1/marketdata?symbols=A,B&symbols=C")
    assert aggregator.calls == [AggregatesRequest(symbols=["A", "B", "C"])]


@pytest.mark.parametrize(
    "query", ["", "?symbols=", "?symbols=A,,B", "?symbols=A,B*", "?symbol=A", "?symbols=A,%FF"]
)
async def test_a_bad_list_is_422_naming_symbols(
    aggregator: FakeAggregator, http: httpx.AsyncClient, query: str
) -> None:
    body = problem(await http.get(f"/api/v1/marketdata{query}"), 422, "invalid-input")
    assert wrong_fields(body) == ["symbols"]
    assert aggregator.calls == []


async def test_the_number_of_symbols_is_limited(
    aggregator: FakeAggregator, http: httpx.AsyncClient
) -> None:
    most = ",".join(f"S{i}" for i in range(500))
    assert (await http.get(f"/api/v1/marketdata?symbols={most}")).status_code == 200
    body = problem(await http.get(f"/api/v1/marketdata?symbols={most},X"), 422, "invalid-input")
    assert body["errors"] == [{"field": "symbols", "detail": "501 symbols, limit is 500"}]
    assert len(aggregator.calls) == 1


async def test_the_number_of_symbols_is_a_setting(aggregator: FakeAggregator) -> None:
    async with http_to_gateway(aggregator, max_symbols_per_request=2) as http:
        body = problem(await http.get("/api/v1/marketdata?symbols=A,B,C"), 422, "invalid-input")
    assert body["errors"] == [{"field": "symbols", "detail": "3 symbols, limit is 2"}]


async def test_symbols_are_listed_page_by_page(
    aggregator: FakeAggregator, http: httpx.AsyncClient
) -> None:
    for symbol in ("AAPL", "ABC", "BRK/B", "B", "A C", "abc"):
        aggregator.set(symbol)
    first = await http.get("/api/v1/symbols?limit=3")
    assert first.json() == {"symbols": ["A C", "AAPL", "ABC"], "nextCursor": "ABC"}
    second = await http.get("/api/v1/symbols?limit=3&cursor=ABC")
    assert second.json() == {"symbols": ["B", "BRK/B", "abc"], "nextCursor": None}
    for prefix, symbols in (("A", ["A C", "AAPL", "ABC"]), ("a", ["abc"]), ("A%20", ["A C"])):
        some = await http.get(f"/api/v1/symbols?prefix={prefix}")
        assert some.json() == {"symbols": symbols, "nextCursor": None}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("prefix=*", "prefix"),
        ("prefix=A%2C", "prefix"),
        ("prefix=" + "A" * 65, "prefix"),
        ("cursor=*", "cursor"),
        ("limit=1_0", "limit"),
        ("limit=%D9%A1", "limit"),
    ],
)
async def test_a_bad_page_is_422_naming_the_field(
    aggregator: FakeAggregator, http: httpx.AsyncClient, query: str, field: str
) -> None:
    body = problem(await http.get(f"/api/v1/symbols?{query}"), 422, "invalid-input")
    assert wrong_fields(body) == [field]
    assert aggregator.calls == []


@pytest.mark.parametrize("limit", [1, 1000])
async def test_the_limits_of_a_page_are_inclusive(http: httpx.AsyncClient, limit: int) -> None:
    assert (await http.get(f"/api/v1/symbols?limit={limit}")).status_code == 200


@pytest.mark.parametrize("path", ["/nix", "/api/v1", "/redoc", "/static-offline-docs/nix"])
async def test_an_unknown_path_is_a_problem(http: httpx.AsyncClient, path: str) -> None:
    body = problem(await http.get(path), 404, "about:blank")
    assert (body["title"], body["detail"]) == ("Not Found", f"there is nothing at {path}")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_a_wrong_method_is_a_problem_and_says_what_is_allowed(
    http: httpx.AsyncClient, method: str
) -> None:
    response = await http.request(method, "/api/v1/marketdata/AAPL")
    body = problem(response, 405, "about:blank")
    assert body["detail"] == f"{method} is not possible here"
    assert response.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/api/v1/marketdata/AAPL", "/health/live", "/docs", "/nix"])
async def test_head_is_get_without_the_body(
    aggregator: FakeAggregator, http: httpx.AsyncClient, path: str
) -> None:
    aggregator.hold(AAPL)
    get, head = await http.get(path), await http.head(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-length"] == get.headers["content-length"]


# So that the layers answer.
NOT_PLAIN = {"X-Other": "1"}


async def test_a_bug_is_500_for_the_client_and_a_traceback_in_the_log(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(field: str, raw: str) -> str:
        raise RuntimeError("a secret")

    monkeypatch.setattr("gateway.rest.routes.parse_symbol", fail)
    with capture_logs() as lines:
        response = await http.get("/api/v1/marketdata/AAPL", headers=NOT_PLAIN)
    problem(response, 500, "about:blank")
    assert b"secret" not in response.content
    assert b"Traceback" not in response.content
    (line,) = (line for line in lines if line["event"] == "request_failed")
    assert line["path"] == "/api/v1/marketdata/AAPL"
    assert line["exc_info"]


async def test_after_a_bug_the_gateway_serves_on(
    aggregator: FakeAggregator, http: httpx.AsyncClient
) -> None:
    aggregator.set("AAPL")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gateway.rest.routes.parse_symbol", lambda field: field)
        with capture_logs():
            bug = await http.get("/api/v1/marketdata/AAPL", headers=NOT_PLAIN)
            assert bug.status_code == 500
    assert (await http.get("/api/v1/marketdata/AAPL")).status_code == 200


async def test_live_is_always_200(aggregator: FakeAggregator, http: httpx.AsyncClient) -> None:
    await aggregator.go_down()
    response = await http.get("/health/live")
    assert (response.status_code, response.json()) == (200, {"status": "live"})


async def test_ready_is_200_while_the_aggregator_serves(http: httpx.AsyncClient) -> None:
    response = await http.get("/health/ready")
    assert (response.status_code, response.json()) == (
        200,
        {"status": "ready", "checks": {"aggregator": "ok"}},
    )


async def test_ready_is_503_while_the_aggregator_says_it_does_not_serve(
    aggregator: FakeAggregator, http: httpx.AsyncClient
) -> None:
    await aggregator.say_not_serving()
    response = await http.get("/health/ready")
    assert (response.status_code, response.json()) == (
        503,
        {"status": "not ready", "checks": {"aggregator": "NOT_SERVING"}},
    )


async def test_ready_is_503_while_the_aggregator_is_down(
    aggregator: FakeAggregator, http: httpx.AsyncClient
) -> None:
    await aggregator.go_down()
    response = await http.get("/health/ready")
    assert (response.status_code, response.json()) == (
        503,
        {"status": "not ready", "checks": {"aggregator": "UNAVAILABLE"}},
    )
