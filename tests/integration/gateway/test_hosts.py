"""Who may ask: hosts, origins and the policies of pages; and what an error says of the input."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from gateway.app import STATIC
from tests.integration.gateway.doubles import FakeAggregator, http_to_gateway

Raw = tuple[int, dict[str, str], str]


async def ask(address: str, request: str | bytes) -> Raw:
    """Send bytes; return status, headers and body of the answer, when the connection ended."""
    host, port = address.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request.encode() if isinstance(request, str) else request)
    async with asyncio.timeout(20):
        answer = (await reader.read()).decode()
    writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    status, *lines = head.split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, body


async def get(address: str, path: str, host: str, method: str = "GET") -> Raw:
    return await ask(
        address, f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )


def handshake(path: str, host: str, **headers: str) -> str:
    key = base64.b64encode(os.urandom(16)).decode()
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{more}\r\n"
    )


def address_of(http: httpx.AsyncClient) -> str:
    return f"{http.base_url.host}:{http.base_url.port}"


@pytest.fixture
async def http(aggregator: FakeAggregator) -> AsyncIterator[httpx.AsyncClient]:
    aggregator.set("AAPL", close=151.5)
    async with http_to_gateway(aggregator) as http:
        yield http


# Hosts

PATHS = ("/api/v1/marketdata/AAPL", "/", "/docs", "/graphql", "/ws/info", "/nothing", "/static/x")
SOCKETS = ("/api/v1/stream", "/ws/marketdata", "/ws", "/ws/0/s/websocket", "/graphql")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example"])
async def test_a_name_that_was_made_to_point_here_is_refused(
    http: httpx.AsyncClient, host: str
) -> None:
    address = address_of(http)
    for path in PATHS:
        status, _, body = await get(address, path, host)
        assert status == 403, path
        assert "GATEWAY_ALLOWED_HOSTS" in body
    for path in SOCKETS:
        # The page has the same origin as its host, so the check of origins lets it in.
        request = handshake(path, host, Origin=f"http://{host}")
        assert (await ask(address, request))[0] == 403, path


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:1", "[::1]:8080", "127.1.2.3"]
)
async def test_a_server_on_loopback_answers_to_its_names(
    http: httpx.AsyncClient, host: str
) -> None:
    assert (await get(address_of(http), "/api/v1/marketdata/AAPL", host))[0] == 200


@pytest.mark.parametrize(
    ("listening_on", "allowed", "host", "status"),
    [
        ("127.0.0.1", "", "192.0.2.1", 403),
        ("127.0.0.1", "market.example.com", "market.example.com:8443", 200),
        ("127.0.0.1", "market.example.com", "localhost", 200),
        ("127.0.0.1", "market.example.com", "other.example.com", 403),
        ("127.0.0.1", "*", "anything.example", 200),
        ("0.0.0.0", "", "192.0.2.1:8080", 200),
        ("0.0.0.0", "", "[2001:db8::1]", 200),
        ("0.0.0.0", "", "gateway:8080", 200),
        ("0.0.0.0", "", "evil.example", 403),
        ("0.0.0.0", "market.example.com", "192.0.2.1", 403),
    ],
)
async def test_an_operator_names_the_hosts(
    aggregator: FakeAggregator, listening_on: str, allowed: str, host: str, status: int
) -> None:
    aggregator.set("AAPL", close=151.5)
    async with http_to_gateway(aggregator, host=listening_on, allowed_hosts=allowed) as http:
        address = f"127.0.0.1:{http.base_url.port}"
        assert (await get(address, "/api/v1/marketdata/AAPL", host))[0] == status


async def test_a_refused_host_is_in_the_log(http: httpx.AsyncClient) -> None:
    with capture_logs() as logs:
        await get(address_of(http), "/", "evil.example" + "x" * 5000)
    (entry,) = [log for log in logs if log["event"] == "host_refused"]
    assert "GATEWAY_ALLOWED_HOSTS" in entry["hint"]
    assert len(entry["host"]) <= 80


# Origins

OTHER = {"Origin": "https://other.example"}


async def test_sse_is_refused_to_pages_of_another_origin(http: httpx.AsyncClient) -> None:
    refused = await http.get("/api/v1/stream?symbols=AAPL", headers=OTHER)
    assert refused.status_code == 403
    assert refused.json()["type"] == "urn:market-data:origin-refused"
    assert "GATEWAY_ALLOWED_ORIGINS" in refused.json()["detail"]
    for allowed in ({}, {"Origin": str(http.base_url).rstrip("/")}):
        async with http.stream("GET", "/api/v1/stream?symbols=AAPL", headers=allowed) as answer:
            assert answer.status_code == 200


@pytest.mark.parametrize("path", SOCKETS)
async def test_a_port_that_a_proxy_lost_is_explained(http: httpx.AsyncClient, path: str) -> None:
    origin = "http://localhost:8443"
    with capture_logs() as logs:
        status, _, body = await ask(address_of(http), handshake(path, "localhost", Origin=origin))
    assert status == 403
    (entry,) = [log for log in logs if log["event"] == "origin_refused"]
    for text in (body, entry["reason"]):
        assert origin in text
        assert "proxy_set_header Host $http_host" in text


@pytest.mark.parametrize("path", ["/ws/info", "/ws/0/null/xhr"])
async def test_a_page_without_an_origin_may_read_what_sockjs_answers(
    aggregator: FakeAggregator, path: str
) -> None:
    async with http_to_gateway(aggregator, allowed_origins="*") as http:
        method = "GET" if path.endswith("info") else "POST"
        answer = await http.request(method, path, headers={"Origin": "null"})
        assert answer.status_code == 200
        # Fetch Standard, CORS check: with credentials, "*" fails.
        assert answer.headers["access-control-allow-origin"] == "null"
        assert answer.headers["access-control-allow-credentials"] == "true"


# Pages


async def test_every_page_has_a_policy(http: httpx.AsyncClient) -> None:
    if not (STATIC / "dashboard" / "index.html").exists():
        pytest.skip("the dashboard is not built: make assets")
    pages = ["/", "/collab", "/graphiql", "/docs", "/ws/iframe.html", "/ws/", "/nothing"]
    pages += ["/static/dashboard/index.html", "/static/graphiql/index.html", "/static/nothing"]
    pages += ["/static-offline-docs/swagger-ui-bundle.js", "/static/dashboard/favicon.svg"]
    pages += ["/openapi.json", "/ws/0/s/htmlfile?c=x", "/api/v1/marketdata", "/health/live"]
    for page in pages:
        async with http.stream("GET", page) as answer:
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; ") or page == "/graphiql", page
            assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_page_that_has_not_changed_keeps_its_policy(http: httpx.AsyncClient) -> None:
    if not (STATIC / "dashboard" / "index.html").exists():
        pytest.skip("the dashboard is not built: make assets")
    for page in ("/", "/collab", "/static/dashboard/index.html"):
        first = await http.get(page)
        again = await http.get(page, headers={"If-None-Match": first.headers["etag"]})
        assert again.status_code == 304
        # A browser puts the headers of a 304 in place of those that it stored with the page.
        policy = first.headers["content-security-policy"]
        assert again.headers.get("content-security-policy", policy) == policy


async def test_only_the_iframe_page_may_be_in_frames_of_others(http: httpx.AsyncClient) -> None:
    for page in ("/", "/collab", "/graphiql", "/docs", "/static/dashboard/index.html", "/nothing"):
        policy = (await http.get(page)).headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
    policy = (await http.get("/ws/iframe.html")).headers["content-security-policy"]
    assert "frame-ancestors" not in policy
    assert "script-src 'self' 'sha256-" in policy


# Requests whose end a proxy may see elsewhere


@pytest.mark.parametrize(
    "lengths",
    [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\ncontent-length: 0\r\n",
    ],
)
async def test_a_request_with_two_lengths_is_refused_and_its_connection_closed(
    http: httpx.AsyncClient, lengths: str
) -> None:
    smuggled = "GET /api/v1/marketdata/AAPL HTTP/1.1\r\nHost: localhost\r\n\r\n"
    status, headers, body = await ask(
        address_of(http),
        f"POST /graphql HTTP/1.1\r\nHost: localhost\r\n{lengths}\r\n0\r\n\r\n{smuggled}",
    )
    assert (status, headers["connection"]) == (400, "close")
    assert "HTTP/1.1" not in body


async def test_an_idle_connection_is_closed_after_the_time_of_the_setting(
    aggregator: FakeAggregator,
) -> None:
    async with http_to_gateway(aggregator, keep_alive_s=1) as http:
        begun = asyncio.get_running_loop().time()
        request = "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
        status, _, _ = await ask(address_of(http), request)
        assert status == 200
        assert 0.9 < asyncio.get_running_loop().time() - begun < 4


# Errors


async def test_no_answer_repeats_a_long_input(http: httpx.AsyncClient) -> None:
    address, long = address_of(http), "A" * 60_000
    targets = [
        f"/{long}",
        f"/api/v1/marketdata/{long}",
        f"/api/v1/marketdata?symbols={long}",
        f"/api/v1/marketdata/AAPL/bars?interval={long}",
        f"/api/v1/marketdata/AAPL/bars?interval=1m&from={long}",
        f"/api/v1/marketdata/AAPL/bars?interval=1m&cursor={long}",
        f"/api/v1/symbols?prefix={long}",
        f"/api/v1/symbols?limit={long}",
        f"/api/v1/stream?symbols={long}",
        f"/api/v1/stream?symbols=AAPL&policy={long}",
        f"/api/v1/stream?symbols=AAPL&interval={long}",
        f"/graphql?query={long}",
        f"/graphql?query={{{long}}}",
        f"/graphql?query={{symbols(limit:{long}){{symbols}}}}",
        f"/graphql?operationName={long}&query={{__typename}}",
        f"/ws/{long}",
        f"/ws/0/s/jsonp?c={long}",
        f"/static/{long}",
    ]
    for target in targets:
        status, headers, body = await get(address, target, "localhost")
        assert status >= 400 or "errors" in body, target[:60]
        assert len(body) + len(str(headers)) < 4000, target[:60]
    status, headers, body = await get(address, "/", "localhost", method=long)
    assert status in {400, 405}
    assert len(body) + len(str(headers)) < 4000


async def test_no_error_repeats_many_inputs(http: httpx.AsyncClient) -> None:
    symbols = ",".join("%22" * 8 + str(each) for each in range(490))
    answer = await http.get(f"/api/v1/marketdata?symbols={symbols}")
    assert answer.status_code == 422
    assert len(answer.content) < 8000


@pytest.mark.parametrize(
    ("path", "protocol", "messages"),
    [
        ("/api/v1/stream", None, ['{"type":"unsubscribe","id":"%s"}']),
        ("/api/v1/stream", None, ['{"type":"%s"}']),
        ("/api/v1/stream", None, ['{"type":"subscribe","id":"a","symbols":["\\\\%s"]}']),
        ("/api/v1/stream?symbols=%22", None, []),
        ("/ws", "v12.stomp", ["%s\n\n\0"]),
        ("/ws", "v12.stomp", ["CONNECT\naccept-version:%s\n\n\0"]),
        (
            "/ws",
            "v12.stomp",
            ["CONNECT\naccept-version:1.2\n\n\0", "SUBSCRIBE\nid:0\ndestination:/%s\n\n\0"],
        ),
        ("/graphql", "graphql-transport-ws", ['{"type":"%s"}']),
        (
            "/graphql",
            "graphql-transport-ws",
            [
                '{"type":"connection_init"}',
                '{"type":"subscribe","id":"1","payload":{"query":"{ %s }"}}',
            ],
        ),
    ],
)
async def test_no_message_repeats_a_long_input(
    http: httpx.AsyncClient, path: str, protocol: Any, messages: list[str]
) -> None:
    subprotocols = [protocol] if protocol else None
    url = f"ws://{address_of(http)}{path}"
    received = 0
    async with connect(url, subprotocols=subprotocols, proxy=None, max_size=None) as client:
        for message in messages:
            await client.send(message.replace("%s", "x" * 7000))
        try:
            async with asyncio.timeout(1):
                async for answer in client:
                    received += len(answer)
        except TimeoutError:
            pass
        except Exception:
            received += len(client.close_reason or "")
    assert received < 3000


async def test_a_refused_handshake_says_nothing_long(http: httpx.AsyncClient) -> None:
    url = f"ws://{address_of(http)}/{'x' * 7000}"
    with pytest.raises(InvalidStatus) as caught:
        await connect(url, proxy=None)
    assert len(caught.value.response.body or b"") < 2000
