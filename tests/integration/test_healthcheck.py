"""The health checks, against the services themselves and against servers that are not well."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from aggregator.app import Aggregator
from aggregator.settings import AggregatorSettings
from ingest.app import Ingest
from ingest.settings import IngestSettings
from marketdata.framing import encode_frame
from marketdata.healthcheck import main
from tests.doubles.ports import free_port

# A busy machine may take so long; nothing here waits for it.
TIMEOUT_S = 30.0


async def check(*arguments: str, timeout_s: float = TIMEOUT_S) -> int:
    """Run a check as the container does: not on the loop of what it looks at."""
    return await asyncio.to_thread(main, arguments, timeout_s)


@contextlib.asynccontextmanager
async def running_ingest() -> AsyncIterator[Ingest]:
    # Port 1 has no aggregator; ingest takes connections all the same.
    ingest = Ingest(IngestSettings(port=0, aggregator="127.0.0.1:1", shutdown_deadline_s=1))
    await ingest.start(on_failure=lambda: None)
    try:
        yield ingest
    finally:
        await ingest.stop()


@pytest.fixture
def silent_server() -> Iterator[str]:
    """The kernel takes connections for it, but it never reads and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def nobody() -> str:
    return f"127.0.0.1:{free_port()}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response({"/well": 200, "/": 200, "/ill": 503}[self.path])
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Be quiet."""


@pytest.fixture
def http_server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def test_grpc_passes_while_the_aggregator_serves_and_fails_once_it_stops(
    capsys: pytest.CaptureFixture[str],
) -> None:
    aggregator = Aggregator(AggregatorSettings(port=0, drain_s=0, store="off"))
    await aggregator.start()
    address = f"127.0.0.1:{aggregator.port}"
    capsys.readouterr()
    try:
        assert await check("grpc", address) == 0
        assert capsys.readouterr().out == ""
        await aggregator._health.enter_graceful_shutdown()
        assert await check("grpc", address) == 1
        assert capsys.readouterr().out == f"grpc {address}: NOT_SERVING\n"
    finally:
        await aggregator.stop()
    assert await check("grpc", address) == 1
    assert "UNAVAILABLE" in capsys.readouterr().out


@pytest.mark.parametrize("path", ["/well", "/", ""])
async def test_http_passes_on_200(http_server: str, path: str) -> None:
    assert await check("http", http_server + path) == 0


async def test_http_fails_on_another_status(
    http_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await check("http", f"{http_server}/ill") == 1
    assert capsys.readouterr().out == f"http {http_server}/ill: status 503, expected 200\n"


async def test_tcp_passes_while_ingest_reads_its_connections() -> None:
    async with running_ingest() as ingest:
        assert await check("tcp", f"127.0.0.1:{ingest.listener.port}") == 0


def producer_lines(lines: list[EventDict]) -> list[tuple[str, str]]:
    return [
        (line["event"], line["log_level"])
        for line in lines
        if line["event"].startswith("producer") and line["log_level"] != "debug"
    ]


async def test_a_check_of_ingest_leaves_no_line_in_its_log() -> None:
    async with running_ingest() as ingest:
        with capture_logs() as lines:
            # It passes at the end of the stream, so ingest is done with the connection by then.
            assert await check("tcp", f"127.0.0.1:{ingest.listener.port}") == 0
        assert producer_lines(lines) == []
        assert not ingest.closed.totals


async def test_a_producer_that_sends_leaves_one_line_each_way() -> None:
    async with running_ingest() as ingest:
        with capture_logs() as lines:
            reader, writer = await asyncio.open_connection("127.0.0.1", ingest.listener.port)
            # Two reads, with the first line between them.
            frame = encode_frame(b"\xff")
            writer.write(frame[:2])
            async with asyncio.timeout(TIMEOUT_S):
                while not producer_lines(lines):  # noqa: ASYNC110  a log has no event
                    await asyncio.sleep(0.001)
            writer.write(frame[2:])
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
        assert producer_lines(lines) == [
            ("producer_connected", "info"),
            ("producer_disconnected", "info"),
        ]


@pytest.mark.parametrize("kind", ["grpc", "http", "tcp"])
async def test_a_server_that_hangs_is_not_healthy(kind: str, silent_server: str) -> None:
    assert await check(kind, silent_server, timeout_s=0.3) == 1


@pytest.mark.parametrize("kind", ["grpc", "http", "tcp", "connected"])
async def test_where_nobody_listens_nothing_is_healthy(
    kind: str, nobody: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await check(kind, nobody) == 1
    line = capsys.readouterr().out
    assert line.startswith(f"{kind} {nobody}: ")
    assert line.count("\n") == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the tables of Linux")
@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
async def test_connected_passes_exactly_while_there_is_a_connection(
    family: socket.AddressFamily, host: str
) -> None:
    try:
        server = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip(f"no {host} on this machine")
    with server:
        port = server.getsockname()[1]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        assert await check("connected", address) == 1
        with socket.create_connection((host, port)):
            assert await check("connected", address) == 0
        assert await check("connected", address) == 1


@pytest.mark.parametrize(
    "arguments", [[], ["grpc"], ["udp", "localhost:1"], ["tcp", "localhost:1", "more"]]
)
async def test_a_wrong_command_line_is_not_healthy_and_says_what_is_known(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert await check(*arguments) == 1
    assert capsys.readouterr().out.startswith("expected grpc|http|tcp|connected ADDRESS, got ")


@pytest.mark.parametrize("kind", ["http", "tcp", "connected"])
@pytest.mark.parametrize("address", ["localhost", ":80", "localhost:http", ""])
async def test_an_address_without_host_or_port_is_refused(
    kind: str, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await check(kind, address) == 1
    assert "is not host:port" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["http", "tcp", "connected"])
def test_a_check_does_not_load_what_it_does_not_need(kind: str) -> None:
    # 30 ms instead of 140, every few seconds, in every container.
    program = (
        "import sys; from marketdata.healthcheck import main; "
        f"main([{kind!r}, '127.0.0.1:1']); "
        "print(*{'grpc', 'asyncio', 'google.protobuf', 'structlog', 'pydantic'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[1:] == [""]
