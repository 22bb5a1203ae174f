"""GraphQL over real HTTP, with an aggregator that does as it is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from gateway.encoding import AGGREGATE_KEYS
from marketdata.wire.market_data_pb2 import AggregatesRequest
from tests.integration.gateway.doubles import AAPL, FakeAggregator, http_to_gateway

AGGREGATE = {
    "symbol": "AAPL",
    "open": 150.25,
    "high": 152.1,
    "low": 149.8,
    "close": 151.5,
    "volume": "1000000",
    "timestamp": "1735201234567",
    "timestampNs": "1735201234567890123",
    "trades": "4711",
    "vwap": 150.98,
    # The message of the test says nothing of the coverage.
    "complete": False,
    "coverage": "partial",
    "refused": "0",
    "sequence": "42",
    "epoch": "7",
}
ALL = " ".join(AGGREGATE_KEYS)
GRAPHQL = "application/graphql-response+json"


@pytest.fixture
async def http(aggregator: FakeAggregator) -> AsyncIterator[httpx.AsyncClient]:
    aggregator.hold(AAPL)
    async with http_to_gateway(aggregator) as http:
        yield http


async def ask(http: httpx.AsyncClient, query: str, **variables: Any) -> Any:
    response = await http.post("/graphql", json={"query": query, "variables": variables})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    return response.json()


def codes(result: Any) -> list[str]:
    return [error["extensions"]["code"] for error in result["errors"]]


async def test_the_original_query_is_answered_as_ever(http: httpx.AsyncClient) -> None:
    query = (
        "query ($symbol: String!) { marketData(symbol: $symbol) "
        "{ symbol open high low close volume timestamp } }"
    )
    result = await ask(http, query, symbol="AAPL")
    expected = dict(list(AGGREGATE.items())[:7])
    assert result == {
        "data": {"marketData": expected},
        "extensions": {"dataStatus": "live"},
    }


async def test_every_field_is_what_rest_says(http: httpx.AsyncClient) -> None:
    result = await ask(http, f'{{ marketData(symbol: " AAPL ") {{ {ALL} }} }}')
    assert result["data"]["marketData"] == AGGREGATE
    assert (await http.get("/api/v1/marketdata/AAPL")).json() == AGGREGATE


async def test_the_schema_is_the_originals_with_additions(http: httpx.AsyncClient) -> None:
    query = """{ __type(name: "Aggregate") { fields { name type { kind name } } }
        __schema { queryType { fields { name args { name type { kind ofType { name } } }
        type { kind name } } } } }"""
    data = (await ask(http, query))["data"]
    types = dict.fromkeys(("open", "high", "low", "close", "vwap"), "Float")
    types["complete"] = "Boolean"
    assert data["__type"]["fields"] == [
        # Neither is wrapped in NON_NULL.
        {"name": name, "type": {"kind": "SCALAR", "name": types.get(name, "String")}}
        for name in AGGREGATE_KEYS
    ]
    assert data["__schema"]["queryType"]["fields"][0] == {
        "name": "marketData",
        "args": [{"name": "symbol", "type": {"kind": "NON_NULL", "ofType": {"name": "String"}}}],
        "type": {"kind": "OBJECT", "name": "Aggregate"},
    }


async def test_an_unknown_symbol_is_null(http: httpx.AsyncClient) -> None:
    result = await ask(http, '{ marketData(symbol: "NIX") { symbol } }')
    assert result == {"data": {"marketData": None}, "extensions": {"dataStatus": "live"}}


async def test_a_list_keeps_its_order_with_null_for_the_unknown(http: httpx.AsyncClient) -> None:
    query = '{ marketDataList(symbols: ["NIX", " AAPL", "AAPL"]) { symbol } }'
    aapl = {"symbol": "AAPL"}
    assert (await ask(http, query))["data"]["marketDataList"] == [None, aapl, aapl]


async def test_symbols_come_in_pages(aggregator: FakeAggregator, http: httpx.AsyncClient) -> None:
    for symbol in ("AMD", "MSFT"):
        aggregator.set(symbol)
    query = 'query ($c: String! = "") { symbols(limit: 2, cursor: $c) { symbols nextCursor } }'
    page = (await ask(http, query))["data"]["symbols"]
    assert page == {"symbols": ["AAPL", "AMD"], "nextCursor": "AMD"}
    page = (await ask(http, query, c=page["nextCursor"]))["data"]["symbols"]
    assert page == {"symbols": ["MSFT"], "nextCursor": None}
    result = await ask(http, '{ symbols(prefix: "AM") { symbols } }')
    # No market data was read, so nothing is said about its status.
    assert result == {"data": {"symbols": {"symbols": ["AMD"]}}}


async def test_50_aliases_are_one_call_and_one_unit_of_the_rate_limit(
    aggregator: FakeAggregator,
) -> None:
    aggregator.hold(AAPL)
    fields = " ".join(f'a{n}: marketData(symbol: "S{n}") {{ {ALL} }}' for n in range(49))
    query = f'{{ {fields} aapl: marketData(symbol: "AAPL") {{ {ALL} }} }}'
    async with http_to_gateway(aggregator, rate_limit=1) as http:
        result = await ask(http, query)
        assert result["data"]["aapl"] == AGGREGATE
        assert len(result["data"]) == 50
        assert "errors" not in result
        assert codes(await ask(http, query)) == ["RATE_LIMITED"] * 50
    (request,) = aggregator.calls
    assert isinstance(request, AggregatesRequest)
    assert len(request.symbols) == 50


async def test_aliases_and_lists_of_one_operation_are_one_call(
    aggregator: FakeAggregator, http: httpx.AsyncClient
) -> None:
    query = """{ a: marketData(symbol: "A") { symbol }
        b: marketDataList(symbols: ["B", "A"]) { symbol } }"""
    await ask(http, query)
    (request,) = aggregator.calls
    assert isinstance(request, AggregatesRequest)
    assert sorted(request.symbols) == ["A", "B"]


async def test_rate_limited_says_when_to_come_back(aggregator: FakeAggregator) -> None:
    async with http_to_gateway(aggregator, rate_limit=0.5) as http:
        query = '{ marketData(symbol: "AAPL") { symbol } }'
        await ask(http, query)
        result = await ask(http, query)
    assert result["data"] == {"marketData": None}
    assert result["errors"][0]["path"] == ["marketData"]
    assert result["errors"][0]["extensions"] == {"code": "RATE_LIMITED", "retryAfter": 2}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ('{ marketData(symbol: "A*") { symbol } }', "symbol"),
        ('{ marketData(symbol: "") { symbol } }', "symbol"),
        ('{ marketDataList(symbols: ["A", "A,B"]) { symbol } }', "symbols"),
        ("{ symbols(limit: 0) { symbols } }", "limit"),
        ("{ symbols(limit: 1001) { symbols } }", "limit"),
        ('{ symbols(prefix: "*") { symbols } }', "prefix"),
        ('{ symbols(cursor: "*") { symbols } }', "cursor"),
    ],
)
async def test_bad_input_is_an_error_that_names_the_field(
    aggregator: FakeAggregator, http: httpx.AsyncClient, query: str, field: str
) -> None:
    result = await ask(http, query)
    assert codes(result) == ["BAD_USER_INPUT"]
    assert [error["field"] for error in result["errors"][0]["extensions"]["errors"]] == [field]
    assert list(result["data"].values()) == [None]
    assert aggregator.calls == []


async def test_symbols_are_limited_over_all_fields_of_an_operation(
    aggregator: FakeAggregator,
) -> None:
    async with http_to_gateway(aggregator, max_symbols_per_request=3) as http:
        query = """query ($s: [String!]!) { a: marketDataList(symbols: $s) { symbol }
            b: marketData(symbol: "C") { symbol } }"""
        assert "errors" not in await ask(http, query, s=["A", "B"])
        result = await ask(http, query, s=["A", "B", "D"])
        assert codes(result) == ["BAD_USER_INPUT"]
        assert result["data"] == {"a": [None] * 3, "b": None}


async def test_without_the_aggregator_there_is_the_empty_aggregate(
    aggregator: FakeAggregator, http: httpx.AsyncClient
) -> None:
    await aggregator.go_down()
    result = await ask(http, f'{{ marketData(symbol: "AAPL") {{ {ALL} }} }}')
    assert result == {
        "data": {"marketData": {**dict.fromkeys(AGGREGATE_KEYS), "symbol": "AAPL"}},
        "extensions": {"dataStatus": "fallback"},
    }
    result = await ask(http, "{ symbols { symbols } }")
    assert codes(result) == ["SERVICE_UNAVAILABLE"]
    assert result["data"] == {"symbols": None}


async def test_without_the_aggregator_there_may_be_what_it_said_last(
    aggregator: FakeAggregator,
) -> None:
    aggregator.hold(AAPL)
    async with http_to_gateway(aggregator, fallback="last") as http:
        query = '{ marketDataList(symbols: ["AAPL", "NIX"]) { symbol close } }'
        await ask(http, query)
        await aggregator.go_down()
        result = await ask(http, query)
    known, unknown = {"symbol": "AAPL", "close": 151.5}, {"symbol": "NIX", "close": None}
    assert result["data"] == {"marketDataList": [known, unknown]}
    assert result["extensions"]["dataStatus"] == "last"
    assert 0 <= result["extensions"]["age"] <= 10


async def test_without_the_aggregator_there_may_be_an_error(aggregator: FakeAggregator) -> None:
    async with http_to_gateway(aggregator, fallback="error") as http:
        await aggregator.go_down()
        result = await ask(http, '{ marketData(symbol: "AAPL") { symbol } }')
    assert result["data"] == {"marketData": None}
    assert codes(result) == ["SERVICE_UNAVAILABLE"]
    assert result["errors"][0]["extensions"]["retryAfter"] >= 1


async def test_what_nobody_foresaw_is_logged_and_not_told(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the secret reason")

    monkeypatch.setattr("gateway.backend.client.AggregatorClient.get_aggregates", fail)
    with capture_logs() as logs:
        result = await ask(http, '{ marketData(symbol: "AAPL") { symbol } }')
    assert codes(result) == ["INTERNAL_SERVER_ERROR"]
    assert "secret" not in str(result)
    (line,) = [line for line in logs if line["event"] == "graphql_field_failed"]
    assert line["path"] == ["marketData"]


async def test_a_get_asks_too(http: httpx.AsyncClient) -> None:
    parameters = {
        "query": "query ($s: String!) { marketData(symbol: $s) { symbol } }",
        "variables": '{"s": "AAPL"}',
    }
    response = await http.get("/graphql", params=parameters)
    assert response.status_code == 200
    assert response.json()["data"] == {"marketData": {"symbol": "AAPL"}}


@pytest.mark.parametrize("query", ["mutation { a }", "mutation M { a }"])
async def test_a_mutation_by_get_is_405_whether_or_not_there_is_one(
    http: httpx.AsyncClient, query: str
) -> None:
    response = await http.get("/graphql", params={"query": query})
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"


async def test_another_method_is_405(http: httpx.AsyncClient) -> None:
    response = await http.put("/graphql", json={"query": "{ __typename }"})
    assert response.status_code == 405
    assert set(response.headers["allow"].split(", ")) >= {"GET", "POST"}


@pytest.mark.parametrize("accept", ["application/json", GRAPHQL])
@pytest.mark.parametrize(
    "request_body",
    [
        {"query": "{"},
        {"query": "{ nope }"},
        {"query": "query ($s: String!) { marketData(symbol: $s) { symbol } }"},
        {"query": "{ __typename }", "operationName": "A"},
        {"query": 'subscription { marketData(symbols: ["A"]) { symbol } }'},
        {"query": "mutation { a }"},
    ],
)
async def test_an_operation_that_cannot_run_is_400_in_the_new_media_type_and_200_in_the_old(
    http: httpx.AsyncClient, accept: str, request_body: dict[str, str]
) -> None:
    response = await http.post("/graphql", json=request_body, headers={"Accept": accept})
    assert response.status_code == (400 if accept == GRAPHQL else 200)
    assert response.headers["content-type"] == f"{accept}; charset=utf-8"
    result = response.json()
    assert set(result) == {"errors"}


async def test_an_operation_with_failed_fields_is_200_in_the_new_media_type(
    http: httpx.AsyncClient,
) -> None:
    request = {"query": '{ marketData(symbol: "*") { symbol } }'}
    response = await http.post("/graphql", json=request, headers={"Accept": GRAPHQL})
    assert response.status_code == 200
    assert response.json()["data"] == {"marketData": None}


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
async def test_what_another_sites_page_could_send_unasked_is_415(
    aggregator: FakeAggregator, http: httpx.AsyncClient, content_type: str
) -> None:
    body = b'{"query": "{ marketData(symbol: \\"AAPL\\") { symbol } }"}'
    headers = {"Content-Type": content_type} if content_type else {}
    response = await http.post("/graphql", content=body, headers=headers)
    assert response.status_code == 415
    assert aggregator.calls == []


async def test_the_body_is_limited(aggregator: FakeAggregator) -> None:
    async with http_to_gateway(aggregator, graphql_max_body_bytes=1024) as http:
        body = b'{"query": "{ __typename }"}'
        headers = {"Content-Type": "application/json"}
        fits = await http.post("/graphql", content=body.ljust(1024), headers=headers)
        assert fits.status_code == 200
        over = await http.post("/graphql", content=body.ljust(1025), headers=headers)
        assert over.status_code == 413
        again = await http.post("/graphql", content=body, headers=headers)
        assert again.status_code == 200


async def test_introspection_can_be_switched_off(aggregator: FakeAggregator) -> None:
    async with http_to_gateway(aggregator, graphql_introspection=False) as http:
        result = await ask(http, "{ __schema { types { name } } }")
        assert codes(result)[0] == "GRAPHQL_VALIDATION_FAILED"
        assert "data" not in result


async def test_the_limits_are_settings(aggregator: FakeAggregator) -> None:
    query = '{ a: marketData(symbol: "A") { symbol } b: marketData(symbol: "B") { symbol } }'
    for setting, value in [("aliases", 1), ("tokens", 10)]:
        settings = {f"graphql_max_{setting}": value}
        async with http_to_gateway(aggregator, **settings) as http:
            assert "data" not in await ask(http, query)
    assert aggregator.calls == []


async def test_pages_of_other_origins_may_ask_where_they_are_allowed(
    aggregator: FakeAggregator,
) -> None:
    origin = {"Origin": "https://app.example.com"}
    asked = {**origin, "Access-Control-Request-Method": "POST"}
    async with http_to_gateway(aggregator) as http:
        refused = await http.options("/graphql", headers=asked)
        assert "access-control-allow-origin" not in refused.headers
    async with http_to_gateway(aggregator, allowed_origins="https://app.example.com") as http:
        allowed = await http.options("/graphql", headers=asked)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "https://app.example.com"


async def test_graphiql_says_how_to_build_it_where_it_is_not_built(
    aggregator: FakeAggregator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("gateway.app.STATIC", tmp_path)
    async with http_to_gateway(aggregator) as http:
        response = await http.get("/graphiql")
        assert response.status_code == 503
        assert "make assets" in response.text
        (tmp_path / "graphiql").mkdir()
        (tmp_path / "graphiql" / "index.html").write_text("<!doctype html>")
        response = await http.get("/graphiql")
        assert response.status_code == 200
        assert "default-src 'self'" in response.headers["content-security-policy"]
