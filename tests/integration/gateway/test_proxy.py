"""The configurations of docs/proxy.md, in nginx and Caddy in front of a gateway."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import os
import re
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.protocol import State

from gateway.app import STATIC
from tests.doubles.processes import bound
from tests.doubles.stomp import decode, encode
from tests.integration.gateway.live import Feed, feeding, gateway_to, until_status

TIMEOUT_S = 30
DOCUMENT = (Path(__file__).parents[3] / "docs" / "proxy.md").read_text("utf-8")
NAME = "market.example.com"
# httpx verifies the address that it connects to.
ADDRESS = x509.IPAddress(ip_address("127.0.0.1"))
SETTINGS = {"trusted_proxies": "127.0.0.1", "allowed_hosts": NAME, "keep_alive_s": 75}


def documented(name: str) -> str:
    """Return a configuration of the page."""
    (found,) = re.findall(rf"```\w+\n# tested: {name}\n(.*?)```", DOCUMENT, re.DOTALL)
    assert isinstance(found, str)
    return found


def need(program: str) -> str:
    """Return the path of a proxy; skip the test where it is not installed, but not in CI."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/bin")
    if path is None:
        assert not os.environ.get("CI"), f"{program} is not installed"
        pytest.skip(f"{program} is not installed; on Debian: apt-get install {program}")
    return path


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a self-signed certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME), ADDRESS]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


@dataclass
class Proxy:
    """A proxy, as a client sees it: it connects to 127.0.0.1 and asks for the name."""

    port: int
    prefix: str
    tls: ssl.SSLContext | None

    @property
    def host(self) -> str:
        return f"{NAME}:{self.port}"

    @property
    def origin(self) -> str:
        return f"http{'s' if self.tls else ''}://{self.host}"

    def http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}{self.prefix}",
            headers={"Host": self.host},
            verify=self.tls or False,
            trust_env=False,
            timeout=TIMEOUT_S,
        )

    def websocket(self, path: str, origin: str | None, **options: object) -> connect:
        return connect(
            f"ws{'s' if self.tls else ''}://{self.host}{self.prefix}{path}",
            host="127.0.0.1",
            port=self.port,
            origin=origin,  # type: ignore[arg-type]
            ssl=self.tls,
            proxy=None,
            **options,  # type: ignore[arg-type]
        )


@contextlib.asynccontextmanager
async def running(port: int, *command: str, cwd: Path) -> AsyncIterator[None]:
    """Run a proxy until the end of the context; the body begins when it listens."""
    with (cwd / "output").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *bound(*command),
            cwd=cwd,
            stdout=output,
            stderr=output,
            env={"HOME": str(cwd), "PATH": os.environ["PATH"]},
        )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                except OSError:
                    assert process.returncode is None, (cwd / "output").read_text()
                    await asyncio.sleep(0.02)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def nginx_config(folder: Path, servers: str) -> Path:
    paths = "\n".join(
        f"{name}_temp_path {folder / name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file = folder / "nginx.conf"
    file.write_text(
        f"daemon off;\npid {folder / 'pid'};\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{paths}\n{servers}\n}}\n"
    )
    return file


def tls_server(gateway: str, port: int, folder: Path) -> str:
    certificate, key = write_certificate(folder)
    return (
        documented("tls")
        .replace("127.0.0.1:8080", gateway)
        .replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
        .replace("/etc/ssl/market.example.com.pem", str(certificate))
        .replace("/etc/ssl/market.example.com.key", str(key))
    )


def prefix_server(gateway: str, port: int, location: str) -> str:
    shared = documented("tls").partition("server {\n    listen")[0]
    return (
        shared.replace("127.0.0.1:8080", gateway)
        + f"server {{\nlisten 127.0.0.1:{port};\nserver_name {NAME};\n{location}\n}}\n"
    )


@contextlib.asynccontextmanager
async def running_nginx(servers: str, port: int, folder: Path) -> AsyncIterator[None]:
    config = nginx_config(folder, servers)
    command = (need("nginx"), "-e", "stderr", "-p", str(folder), "-c", str(config))
    async with running(port, *command, cwd=folder):
        yield


KINDS = ("nginx tls", "nginx prefix", "nginx prefix decoding", "caddy", "caddy prefix")


@contextlib.asynccontextmanager
async def proxied(kind: str, gateway: str, folder: Path) -> AsyncIterator[Proxy]:
    """Run a proxy of ``kind`` in front of ``gateway``."""
    port = free_port()
    prefix = "/market" if "prefix" in kind else ""
    tls = None
    if kind == "nginx tls":
        need("nginx")
        servers = tls_server(gateway, port, folder)
        tls = ssl.create_default_context(cafile=str(folder / "certificate.pem"))
        context = running_nginx(servers, port, folder)
    elif kind.startswith("nginx"):
        location = documented("prefix")
        if kind == "nginx prefix decoding":
            location = location.replace("http://market;", "http://market/;")
        context = running_nginx(prefix_server(gateway, port, location), port, folder)
    else:
        name = NAME if kind == "caddy" else "example.com"
        sites = documented(kind).replace("127.0.0.1:8080", gateway)
        # Without a public name there is no certificate.
        sites = re.sub(rf"^{re.escape(name)} ", f"http://{NAME}:{port} ", sites)
        (folder / "Caddyfile").write_text("{\nadmin off\nauto_https off\n}\n" + sites)
        command = (need("caddy"), "run", "--config", str(folder / "Caddyfile"))
        context = running(port, *command, "--adapter", "caddyfile", cwd=folder)
    async with context:
        yield Proxy(port, prefix, tls)


class Both:
    """A feed, and a proxy in front of a gateway on it."""

    def __init__(self, feed: Feed, proxy: Proxy, kind: str) -> None:
        self.feed = feed
        self.proxy = proxy
        self.kind = kind


@pytest.fixture(params=KINDS)
async def both(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Both]:
    async with (
        feeding() as (aggregator, feed),
        gateway_to(aggregator, **SETTINGS) as gateway,
        proxied(request.param, gateway, tmp_path) as proxy,
    ):
        await until_status(gateway, "live")
        await feed.price("AAPL", 150.25)
        await feed.price("BRK/B", 470.5)
        yield Both(feed, proxy, request.param)


async def test_rest_works_through_the_proxy(both: Both) -> None:
    async with both.proxy.http() as http:
        answer = await http.get("/api/v1/marketdata/AAPL")
        assert (answer.status_code, answer.json()["close"]) == (200, 150.25)
        slashed = await http.get("/api/v1/marketdata/BRK%2FB")
        # As the page says: only a proxy that decodes the path loses this address.
        assert slashed.status_code == (404 if "decoding" in both.kind else 200)
        missing = await http.get("/api/v1/nothing")
        assert missing.json()["instance"] == f"{both.proxy.prefix}/api/v1/nothing"


async def test_every_page_and_all_that_it_loads_is_there(both: Both) -> None:
    if not (STATIC / "dashboard" / "index.html").exists():
        pytest.skip("the dashboard is not built: make assets")
    prefix = both.proxy.prefix
    async with both.proxy.http() as http:
        for path in ("/", "/collab", "/graphiql", "/docs", "/ws/iframe.html"):
            page = await http.get(path)
            assert page.status_code == 200, path
            names = re.findall(r'(?:src|href)="([^"]+)"', page.text)
            files = [name for name in names if not name.startswith(("data:", "https:"))]
            assert files
            for name in files:
                assert name.startswith(f"{prefix}/")
                answer = await http.get(name.removeprefix(prefix))
                assert answer.status_code == 200, name
            again = await http.get(path, headers={"If-None-Match": page.headers.get("etag", "")})
            assert again.status_code == (304 if "etag" in page.headers else 200)
        docs = (await http.get("/docs")).text
        assert f"{prefix}/openapi.json" in docs
        servers = (await http.get("/openapi.json")).json().get("servers", [])
        assert servers == ([{"url": prefix}] if prefix else [])


async def test_the_address_without_the_slash_leads_to_the_dashboard(both: Both) -> None:
    async with both.proxy.http() as http:
        answer = await http.get(f"{http.base_url.copy_with(path='')}/market")
        # Without a prefix there is nothing of this name.
        assert answer.status_code in ({301, 302} if both.proxy.prefix else {404})
        assert answer.headers.get("location", "/market/").endswith("/market/")


@pytest.mark.parametrize("path", ["/api/v1/stream", "/ws/marketdata?symbol=AAPL", "/graphql"])
async def test_a_page_of_the_gateway_itself_may_open_a_websocket(both: Both, path: str) -> None:
    subprotocols = ["graphql-transport-ws"] if path == "/graphql" else None
    origin = both.proxy.origin
    async with both.proxy.websocket(path, origin, subprotocols=subprotocols) as client:
        await client.ping()
    with pytest.raises(InvalidStatus, match="403"):
        await both.proxy.websocket(path, "https://evil.example", subprotocols=subprotocols)


async def test_stomp_gets_states_through_the_proxy(both: Both) -> None:
    async with (
        both.proxy.websocket("/ws", both.proxy.origin, subprotocols=["v12.stomp"]) as client,
        asyncio.timeout(TIMEOUT_S),
    ):
        await client.send(encode("CONNECT", accept_version="1.2", host="test"))
        await client.send(encode("SUBSCRIBE", id="0", destination="/topic/market-data/AAPL"))
        frame = None
        while frame is None or frame.command != "MESSAGE":
            frame = decode(str(await client.recv()))
        assert frame.json["close"] == 150.25


async def test_events_are_not_held_back(both: Both) -> None:
    async with both.proxy.http() as http:
        headers = {"Origin": both.proxy.origin}
        address = "/api/v1/stream?symbols=AAPL"
        async with (
            asyncio.timeout(TIMEOUT_S),
            http.stream("GET", address, headers=headers) as answer,
        ):
            assert answer.status_code == 200
            lines = answer.aiter_lines()
            prices = (150.25, 151.0, 152.0)
            for price in prices:
                if price != prices[0]:
                    await both.feed.price("AAPL", price)
                # An event that waits for the next one would never come.
                async for line in lines:
                    if line.startswith('data: {"type":"update"'):
                        assert json.loads(line[6:])["data"]["close"] == price
                        break
        refused = await http.get(address, headers={"Origin": "https://evil.example"})
        assert refused.status_code == 403


@pytest.mark.parametrize("transport", ["xhr_streaming", "eventsource", "xhr"])
async def test_sockjs_works_through_the_proxy(both: Both, transport: str) -> None:
    session = f"/ws/000/{transport}"
    headers = {"Origin": both.proxy.origin}
    method = "GET" if transport == "eventsource" else "POST"
    async with both.proxy.http() as http, asyncio.timeout(TIMEOUT_S):
        info = await http.get("/ws/info", headers=headers)
        assert info.json()["websocket"] is True

        async def send(frame: str) -> None:
            answer = await http.post(f"{session}/xhr_send", content=json.dumps([frame]))
            assert answer.status_code == 204

        received = ""
        if transport == "xhr":
            assert (await http.post(f"{session}/xhr", headers=headers)).text == "o\n"
            await send(encode("CONNECT", accept_version="1.2", host="test"))
            received = (await http.post(f"{session}/xhr", headers=headers)).text
        else:
            async with http.stream(method, f"{session}/{transport}", headers=headers) as answer:
                async for text in answer.aiter_text():
                    received += text
                    if "CONNECTED" in received:
                        break
                    if received.rstrip().endswith("o"):
                        await send(encode("CONNECT", accept_version="1.2", host="test"))
        assert "CONNECTED" in received


async def test_clients_of_one_ipv6_network_share_their_limit(tmp_path: Path) -> None:
    async with (
        feeding() as (aggregator, feed),
        gateway_to(aggregator, **SETTINGS, rate_limit=1, rate_limit_scope="client") as gateway,
        proxied("nginx tls", gateway, tmp_path) as proxy,
        proxy.http() as http,
    ):
        await feed.price("AAPL", 150.25)
        # nginx adds its own client, 127.0.0.1, which is trusted here.
        statuses = [
            (
                await http.get("/api/v1/marketdata/AAPL", headers={"X-Forwarded-For": client})
            ).status_code
            for client in ("2001:db8::1", "2001:db8::2", "[2001:db8::3]:1234", "2001:db8:0:1::1")
        ]
        assert statuses == [200, 429, 429, 200]


async def test_a_port_that_nginx_lost_is_explained(tmp_path: Path) -> None:
    port = free_port()
    async with feeding() as (aggregator, _), gateway_to(aggregator, **SETTINGS) as gateway:
        servers = tls_server(gateway, port, tmp_path).replace("$http_host", "$host")
        async with running_nginx(servers, port, tmp_path):
            tls = ssl.create_default_context(cafile=str(tmp_path / "certificate.pem"))
            proxy = Proxy(port, "", tls)
            with capture_logs() as logs, pytest.raises(InvalidStatus) as caught:
                await proxy.websocket("/api/v1/stream", proxy.origin)
            body = (caught.value.response.body or b"").decode()
            assert caught.value.response.status_code == 403
            (reason,) = [log["reason"] for log in logs if log["event"] == "origin_refused"]
            for text in (body, reason):
                assert "nginx: proxy_set_header Host $http_host" in text


@pytest.mark.parametrize(
    ("settings", "header", "prefix"),
    [
        ({"root_path": "/a/market"}, None, "/a/market"),
        ({"root_path": "/a"}, "/b", "/a"),
        ({"root_path": "/a", "trusted_proxies": "127.0.0.1"}, "/b", "/b"),
        ({"root_path": "/a", "trusted_proxies": "127.0.0.1"}, "//evil.example", "/a"),
        ({"trusted_proxies": "127.0.0.1"}, '/"><script>', ""),
        ({"trusted_proxies": "127.0.0.1"}, "/market/", "/market"),
        ({"trusted_proxies": "192.0.2.1"}, "/market", ""),
    ],
)
async def test_a_prefix_comes_from_the_settings_or_from_a_trusted_proxy(
    settings: dict[str, str], header: str | None, prefix: str
) -> None:
    headers = {"X-Forwarded-Prefix": header} if header else {}
    async with (
        feeding() as (aggregator, _),
        gateway_to(aggregator, **settings) as gateway,
        httpx.AsyncClient(trust_env=False, base_url=f"http://{gateway}", headers=headers) as http,
    ):
        # Whether the proxy removes the prefix or not.
        for path in ("/docs", f"{prefix}/docs"):
            assert f"url: '{prefix}/openapi.json'" in (await http.get(path)).text
        page = (await http.get(f"{prefix}/ws/iframe.html")).text
        assert f'<script src="{prefix}/static/sockjs.min.js">' in page


def two_gateways(first: str, second: str, port: int) -> str:
    location = documented("prefix")
    head, _, _ = documented("tls").partition("upstream market")
    upstream = documented("two gateways").replace("127.0.0.1:8080", first)
    return (
        head
        + upstream.replace("127.0.0.1:8081", second)
        + f"server {{\nlisten 127.0.0.1:{port};\nserver_name {NAME};\n{location}\n}}\n"
    )


async def follow(proxy: Proxy, resume: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
    """Follow AAPL through the proxy; return the client and its first state."""
    client = await proxy.websocket("/api/v1/stream", None)
    message = {"type": "subscribe", "id": "1", "symbols": ["AAPL"], "resume": resume}
    await client.send(json.dumps(message))
    return client, await until(client, "update")


async def until(client: Any, kind: str, status: str | None = None) -> dict[str, Any]:
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            message: dict[str, Any] = json.loads(await client.recv())
            if message["type"] == kind and status in {None, message.get("status")}:
                return message


async def test_of_two_gateways_each_can_restart_and_nobody_misses_anything(tmp_path: Path) -> None:
    need("nginx")
    answers: list[int] = []
    async with contextlib.AsyncExitStack() as stack:
        aggregator, feed = await stack.enter_async_context(feeding())
        await feed.price("AAPL", 1.0)
        ports = [free_port(), free_port()]
        gateways = [contextlib.AsyncExitStack(), contextlib.AsyncExitStack()]

        async def start(number: int) -> None:
            running = gateway_to(aggregator, **{**SETTINGS, "port": ports[number]})
            address = await gateways[number].enter_async_context(running)
            await until_status(address, "live")
            # The gateway follows the symbol.
            follower = await connect(f"ws://{address}/api/v1/stream?symbols=AAPL", proxy=None)
            await until(follower, "update")
            stack.push_async_callback(follower.close)

        for number in range(2):
            await start(number)
            stack.push_async_callback(gateways[number].aclose)
        port = free_port()
        servers = two_gateways(f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}", port)
        await stack.enter_async_context(running_nginx(servers, port, tmp_path))
        proxy = Proxy(port, "/market", None)

        async def ask() -> None:
            async with proxy.http() as http:
                while True:
                    answers.append((await http.get("/api/v1/marketdata/AAPL")).status_code)

        asking = asyncio.create_task(ask())
        client, state = await follow(proxy)
        moves = 0
        for number in range(2):
            await feed.price("AAPL", 10.0 + number)
            state = await until(client, "update")
            await gateways[number].aclose()
            with contextlib.suppress(ConnectionClosed, TimeoutError):
                async with asyncio.timeout(0.5):
                    await until(client, "status", "server-shutdown")
            if client.close_code is not None or client.state is not State.OPEN:
                moves += 1
            await feed.price("AAPL", 20.0 + number)
            if client.state is not State.OPEN:
                assert client.close_code == 1012
                sequences = {"AAPL": state["sequence"]}
                client, state = await follow(
                    proxy, {"epoch": state["epoch"], "sequences": sequences}
                )
                assert state["recovered"] is True
            else:
                state = await until(client, "update")
            await start(number)
        await client.close()
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
    assert moves >= 1
    assert len(answers) > 10
    assert set(answers) == {200}
