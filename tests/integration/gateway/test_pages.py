"""The dashboard's page and what it loads, as a browser asks for them."""

from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from gateway.app import STATIC
from gateway.pages import Page
from tests.integration.gateway.doubles import FakeAggregator, http_to_gateway

DASHBOARD = STATIC / "dashboard"
FIRST_LOAD_BYTES = 400 * 1024


@pytest.fixture
async def http(aggregator: FakeAggregator) -> AsyncIterator[httpx.AsyncClient]:
    if not (DASHBOARD / "index.html").exists():
        pytest.skip("the dashboard is not built: make assets")
    async with http_to_gateway(aggregator) as http:
        yield http


def loaded_by(page: str) -> list[str]:
    """Return what a page names: scripts, styles, pictures."""
    return re.findall(r'(?:src|href)="([^"]+)"', page)


async def test_the_first_load_is_under_400_kb(http: httpx.AsyncClient) -> None:
    page = (await http.get("/")).text
    names = loaded_by(page)
    assert any(name.endswith(".js") for name in names)
    assert any(name.endswith(".css") for name in names)
    size = len(gzip.compress(page.encode()))
    for name in names:
        assert name.startswith("/static/dashboard/")
        response = await http.get(name, headers={"Accept-Encoding": "gzip"})
        assert response.status_code == 200
        size += int(response.headers["content-length"])
    assert size < FIRST_LOAD_BYTES


@pytest.mark.parametrize("path", ["/", "/collab"])
async def test_all_that_a_page_names_is_there(http: httpx.AsyncClient, path: str) -> None:
    files = [name for name in loaded_by((await http.get(path)).text) if "." in name]
    ours = [name for name in files if "://" not in name]
    assert any(name.endswith("favicon.svg") for name in ours)
    for name in ours:
        assert (await http.get(name)).status_code == 200, name


async def test_the_page_is_asked_for_each_time_and_its_assets_never_again(
    http: httpx.AsyncClient,
) -> None:
    page = await http.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-cache"
    assert page.headers["x-content-type-options"] == "nosniff"
    again = await http.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["cache-control"] == "no-cache"
    for name in loaded_by(page.text):
        cached = (await http.get(name)).headers["cache-control"]
        forever = "/assets/" in name
        assert cached == ("public, max-age=31536000, immutable" if forever else "no-cache")


async def test_the_page_may_load_nothing_from_elsewhere(http: httpx.AsyncClient) -> None:
    policy = (await http.get("/")).headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


async def test_the_client_for_others_is_one_module_under_a_name_that_stays(
    http: httpx.AsyncClient,
) -> None:
    module = await http.get("/static/dashboard/marketdata-client.js")
    assert module.headers["content-type"].startswith("text/javascript")
    assert module.headers["cache-control"] == "no-cache"
    assert "export" in module.text
    assert "import " not in re.sub(r"(?m)^\s*(//|\*).*$", "", module.text)


async def test_head_is_answered_like_get_without_a_body(http: httpx.AsyncClient) -> None:
    for path in ("/", "/static/dashboard/marketdata-client.js"):
        got, head = await http.get(path), await http.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["etag"] == got.headers["etag"]
        assert head.headers["content-length"] == got.headers["content-length"]


async def test_other_methods_and_paths_are_refused(http: httpx.AsyncClient) -> None:
    refused = await http.post("/")
    assert refused.status_code == 405
    assert refused.headers["allow"] in {"GET, HEAD", "HEAD, GET"}
    for path in ("/index.html", "/nothing", "/static/dashboard/nothing.js", "/static/dashboard/"):
        missing = await http.get(path)
        assert missing.status_code == 404
        assert missing.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("accept", ["gzip", "br, gzip;q=0.5", "GZIP"])
async def test_who_takes_gzip_gets_it(http: httpx.AsyncClient, accept: str) -> None:
    path = "/static/dashboard/marketdata-client.js"
    packed = await http.get(path, headers={"Accept-Encoding": accept})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == "Accept-Encoding"
    assert packed.content == (STATIC / path.removeprefix("/static/")).read_bytes()


@pytest.mark.parametrize("accept", ["", "identity", "gzip;q=0", "gzip; q=0.000", "br"])
async def test_who_does_not_gets_the_file_as_it_is(http: httpx.AsyncClient, accept: str) -> None:
    path = "/static/dashboard/marketdata-client.js"
    plain = await http.get(path, headers={"Accept-Encoding": accept})
    assert "content-encoding" not in plain.headers
    assert plain.headers["vary"] == "Accept-Encoding"
    assert plain.headers["etag"] != (await http.get(path)).headers["etag"]


async def test_a_page_that_is_not_built_says_how_to_build_it(tmp_path: Path) -> None:
    page = Page(tmp_path / "index.html", "The dashboard", "default-src 'none'")
    app = Starlette(routes=[Route("/", page.__call__)])
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        answer = await http.get("/")
    assert answer.status_code == 503
    assert "make assets" in answer.text
