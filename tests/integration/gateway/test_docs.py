"""The documents the gateway serves about itself."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from fastapi.openapi.models import OpenAPI

from gateway.bars.formats import ARROW, CSV, JSON
from gateway.encoding import AGGREGATE_KEYS, BAR_KEYS
from tests.integration.gateway.doubles import FakeAggregator, http_to_gateway

DATA_PATHS = ("/api/v1/marketdata/{symbol}", "/api/v1/marketdata", "/api/v1/symbols")


@pytest.fixture
async def http(aggregator: FakeAggregator) -> AsyncIterator[httpx.AsyncClient]:
    async with http_to_gateway(aggregator, max_symbols_per_request=7) as http:
        yield http


@pytest.fixture
async def document(http: httpx.AsyncClient) -> dict[str, Any]:
    response = await http.get("/openapi.json")
    assert response.status_code == 200
    document: dict[str, Any] = response.json()
    return document


async def test_the_page_loads_nothing_from_elsewhere(http: httpx.AsyncClient) -> None:
    page = await http.get("/docs")
    assert page.status_code == 200
    loaded = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']*)["']""", page.text)
    assert len(loaded) == 4
    assert "//" not in "".join(loaded)
    assert not re.search(r"https?:", page.text)
    for path in loaded:
        assert (await http.get(path)).status_code == 200, path
    # Left out, Swagger UI would send the document's address to a validator on the internet.
    assert '"validatorUrl": null' in page.text


async def test_the_page_of_redoc_is_absent(http: httpx.AsyncClient) -> None:
    assert (await http.get("/redoc")).status_code == 404


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_the_document_is_openapi_and_every_reference_leads_somewhere(
    document: dict[str, Any],
) -> None:
    OpenAPI.model_validate(document)
    assert document["openapi"].startswith("3.1")
    names = set(references(document))
    assert names
    schemas = document["components"]["schemas"]
    assert {name.removeprefix("#/components/schemas/") for name in names} <= set(schemas)
    assert "HTTPValidationError" not in schemas


def test_every_route_is_described(document: dict[str, Any]) -> None:
    others = {
        "/api/v1/bars",
        "/api/v1/marketdata/{symbol}/bars",
        "/api/v1/status",
        "/api/v1/stream",
        "/api/v1/views/{view}",
        "/api/v1/webrtc",
        "/health/live",
        "/health/ready",
    }
    assert set(document["paths"]) == {*DATA_PATHS, *others}


def test_an_aggregate_is_described_field_by_field(document: dict[str, Any]) -> None:
    schema = document["components"]["schemas"]["AggregateBody"]
    assert tuple(schema["properties"]) == AGGREGATE_KEYS
    assert schema["required"] == list(AGGREGATE_KEYS)


def test_bars_are_described_field_by_field_and_in_every_form(document: dict[str, Any]) -> None:
    schema = document["components"]["schemas"]["BarBody"]
    assert tuple(schema["properties"]) == BAR_KEYS
    assert schema["required"] == list(BAR_KEYS)
    responses = document["paths"]["/api/v1/marketdata/{symbol}/bars"]["get"]["responses"]
    assert set(responses) == {"200", "404", "406", "422", "429", "503"}
    assert set(responses["200"]["content"]) == {JSON, CSV, ARROW}


@pytest.mark.parametrize("path", DATA_PATHS)
def test_every_problem_is_described(document: dict[str, Any], path: str) -> None:
    responses = document["paths"][path]["get"]["responses"]
    expected = {"200", "422", "429", "503"}
    assert set(responses) == (expected | {"404"} if "{" in path else expected)
    for status in set(responses) - {"200"}:
        assert responses[status]["content"] == {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemBody"}}
        }
    for status in ("429", "503"):
        assert responses[status]["headers"]["Retry-After"]["schema"]["type"] == "integer"


@pytest.mark.parametrize("path", DATA_PATHS[:2])
def test_the_headers_of_data_are_described(document: dict[str, Any], path: str) -> None:
    headers = document["paths"][path]["get"]["responses"]["200"]["headers"]
    assert headers["X-Data-Status"]["schema"]["enum"] == ["live", "fallback", "last"]
    assert headers["X-Data-Status"]["required"]
    assert "Age" in headers


def test_what_parameters_may_be_is_described(document: dict[str, Any]) -> None:
    parameters = {
        parameter["name"]: parameter
        for path in DATA_PATHS
        for parameter in document["paths"][path]["get"]["parameters"]
    }
    assert set(parameters) == {"symbol", "symbols", "prefix", "limit", "cursor"}
    pattern = parameters["symbol"]["schema"]["pattern"]
    assert re.fullmatch(pattern, " brk/b ")
    symbols = parameters["symbols"]
    assert (symbols["style"], symbols["explode"]) == ("form", False)
    assert symbols["schema"]["maxItems"] == 7
    assert symbols["schema"]["items"]["pattern"] == pattern
    limit = parameters["limit"]["schema"]
    assert (limit["minimum"], limit["maximum"], limit["default"]) == (1, 1000, 100)
    assert re.fullmatch(parameters["prefix"]["schema"]["pattern"], "")
    assert re.fullmatch(parameters["cursor"]["schema"]["pattern"], "A")


async def test_the_document_is_the_same_each_time(
    http: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    again = await http.get("/openapi.json")
    assert json.dumps(again.json()) == json.dumps(document)
