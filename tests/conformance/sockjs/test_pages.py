"""sockjs-protocol 0.3.3: BaseUrlGreeting, IframePage, InfoTest."""

from __future__ import annotations

import json
import re

import pytest

from tests.conformance.sockjs.checks import (
    check_cacheable,
    check_cors,
    check_not_cached,
    check_preflight,
)
from tests.conformance.sockjs.client import Client
from tests.conformance.sockjs.harness import SOCKJS_URL

IFRAME_PATHS = [
    "/iframe.html",
    "/iframe-a.html",
    "/iframe-.html",
    "/iframe-0.1.2.html",
    "/iframe-0.1.2abc-dirty.2144.html",
    "/iframe-a.html?t=1234",
    "/iframe-0.1.2.html?t=123414",
    "/iframe-0.1.2abc-dirty.2144.html?t=qweqweq123",
]


@pytest.mark.parametrize("base", ["/echo", "/a/b/echo"])
@pytest.mark.parametrize("slash", ["", "/"])
async def test_the_prefix_greets(client: Client, base: str, slash: str) -> None:
    response = await client.get(base + slash)
    assert (response.status, response.content_type) == (200, "text/plain;charset=UTF-8")
    assert response["set-cookie"] is None
    assert await response.body() == "Welcome to SockJS!\n"


@pytest.mark.parametrize(
    "suffix", ["/a", "/a.html", "//", "///", "/a/a", "/a/a/", "/a/", "/a/a/a", "/a/a/xhr/"]
)
async def test_other_simple_paths_are_not_found(client: Client, suffix: str) -> None:
    assert (await client.get("/echo" + suffix)).status == 404


@pytest.mark.parametrize("path", ["/echo", "/echo/iframe.html", "/echo/info"])
async def test_a_page_can_be_asked_for_its_head(client: Client, path: str) -> None:
    assert (await client.request("HEAD", path)).status == 200


@pytest.mark.parametrize("path", ["/echo", "/echo/iframe.html", "/echo/info"])
async def test_a_page_takes_no_other_method(client: Client, path: str) -> None:
    response = await client.post(path)
    assert response.status == 405
    assert response["content-type"] is None
    assert "GET" in (response["allow"] or "")
    assert await response.body() == ""


@pytest.mark.parametrize("path", IFRAME_PATHS)
async def test_every_version_of_the_iframe_page_is_the_same(client: Client, path: str) -> None:
    response = await client.get("/echo" + path)
    assert (response.status, response.content_type) == (200, "text/html;charset=UTF-8")
    check_cacheable(response)
    assert response["etag"]
    assert response["last-modified"] is None
    assert response["set-cookie"] is None
    assert await response.body() == await client.get_body("/echo/iframe.html")


async def test_the_iframe_page_is_the_protocols_and_loads_our_own_client(client: Client) -> None:
    body = await client.get_body("/echo/iframe.html")
    pattern = re.escape(
        """<!DOCTYPE html>
<html>
<head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
  <script>
    document.domain = document.domain;
    _sockjs_onload = function(){SockJS.bootstrap_iframe();};
  </script>
  <script src="URL"></script>
</head>
<body>
  <h2>Don't panic!</h2>
  <p>This is a SockJS hidden iframe. It's used for cross domain magic.</p>
</body>
</html>"""
    ).replace("URL", '([^"]*)')
    match = re.fullmatch(pattern, body.strip())
    assert match is not None
    assert match[1] == SOCKJS_URL


@pytest.mark.parametrize(
    "suffix",
    [
        "/iframe.htm",
        "/iframe",
        "/IFRAME.HTML",
        "/IFRAME",
        "/iframe.HTML",
        "/iframe.xml",
        "/iframe-/.html",
    ],
)
async def test_another_spelling_of_the_iframe_page_is_not_found(
    client: Client, suffix: str
) -> None:
    assert (await client.get("/echo" + suffix)).status == 404


async def test_an_unchanged_iframe_page_is_not_sent_again(client: Client) -> None:
    tag = (await client.get("/echo/iframe.html"))["etag"]
    assert tag
    assert (await client.get("/echo/iframe-x.html"))["etag"] == tag
    response = await client.get("/echo/iframe.html", If_None_Match=tag)
    assert response.status == 304
    assert response["content-type"] is None
    assert await response.body() == ""


async def test_info_tells_what_the_service_can(client: Client) -> None:
    response = await client.get("/echo/info")
    assert (response.status, response.content_type) == (200, "application/json;charset=UTF-8")
    assert response["set-cookie"] is None
    check_not_cached(response)
    check_cors(response)
    info = json.loads(await response.body())
    entropy = info.pop("entropy")
    assert info == {"websocket": True, "cookie_needed": False, "origins": ["*:*"]}
    assert type(entropy) is int
    assert 0 <= entropy < 2**32


async def test_the_entropy_changes(client: Client) -> None:
    infos = [json.loads(await client.get_body("/echo/info")) for _ in range(4)]
    assert len({info["entropy"] for info in infos}) > 1


async def test_info_answers_preflights(client: Client) -> None:
    await check_preflight(client, "/echo/info", "OPTIONS, GET")


async def test_info_tells_that_websocket_is_disabled(client: Client) -> None:
    assert json.loads(await client.get_body("/disabled_websocket_echo/info"))["websocket"] is False
