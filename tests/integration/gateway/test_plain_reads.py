"""Plain reads are answered past the layers, and a client cannot tell."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

import pytest

from gateway.app import running_gateway
from gateway.clients.request_deadline import TimedHttp11
from gateway.settings import GatewaySettings
from tests.integration.gateway.doubles import AAPL, FakeAggregator

TIMEOUT_S = 10.0
# A header that plain reads do not have, so that the layers answer.
LAYERS = b"X-Other: 1\r\n"


class Client:
    """One connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def read(self) -> bytes:
        """Return one response."""
        async with asyncio.timeout(TIMEOUT_S):
            head = await self._reader.readuntil(b"\r\n\r\n")
            found = re.search(rb"(?i)content-length: (\d+)", head)
            return head + await self._reader.readexactly(int(found[1]) if found else 0)

    async def ask(self, request: bytes) -> bytes:
        """Send a request and return its response, without the date."""
        self.writer.write(request)
        return re.sub(rb"(?i)date: [^\r]*\r\n", b"", await self.read())

    async def is_closed(self) -> bool:
        """Return whether the server closes the connection."""
        async with asyncio.timeout(TIMEOUT_S):
            return await self._reader.read(1) == b""


@contextlib.asynccontextmanager
async def connect(aggregator: FakeAggregator, **settings: object) -> AsyncIterator[Client]:
    aggregator.hold(AAPL)
    values = {"port": 0, "aggregator": aggregator.address, "rate_limit": 0, **settings}
    async with running_gateway(GatewaySettings.model_validate(values)) as address:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            yield Client(reader, writer)
        finally:
            writer.close()


def get(symbol: str = "AAPL", *, headers: bytes = b"", version: bytes = b"1.1") -> bytes:
    line = b"GET /api/v1/marketdata/%b HTTP/%b\r\n" % (symbol.encode(), version)
    return line + b"Host: localhost\r\n" + headers + b"\r\n"


@pytest.fixture
def layered(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The requests that the layers answered."""
    seen: list[bytes] = []
    pass_on = TimedHttp11.data_received

    def note(self: TimedHttp11, data: bytes) -> None:
        seen.append(data)
        pass_on(self, data)

    monkeypatch.setattr(TimedHttp11, "data_received", note)
    return seen


async def test_the_answer_is_that_of_the_layers(
    aggregator: FakeAggregator, layered: list[bytes]
) -> None:
    async with connect(aggregator) as client:
        plain = await client.ask(get())
        assert not layered
        through_layers = await client.ask(get(headers=LAYERS))
        assert len(layered) == 1
    assert plain == through_layers
    assert plain.startswith(b"HTTP/1.1 200 ")
    assert f'"symbol":"{AAPL.symbol}"'.encode() in plain


@pytest.mark.parametrize(
    "headers",
    [
        b"",
        b"User-Agent: curl/8.1\r\nAccept: */*\r\n",
        b"accept-encoding: gzip, deflate\r\nCONNECTION: keep-alive\r\n",
        b"Cache-Control: no-cache\r\nPragma: no-cache\r\nAccept-Language: de\r\n",
    ],
)
async def test_harmless_headers_change_nothing(
    aggregator: FakeAggregator, layered: list[bytes], headers: bytes
) -> None:
    async with connect(aggregator) as client:
        assert await client.ask(get(headers=headers)) == await client.ask(get())
    assert not layered


@pytest.mark.parametrize("symbol", ["NOPE", "aapl", "A" * 64])
async def test_an_unknown_symbol_is_answered_by_the_layers_after_one_read(
    aggregator: FakeAggregator, symbol: str
) -> None:
    async with connect(aggregator) as client:
        plain = await client.ask(get(symbol))
        assert plain == await client.ask(get(symbol, headers=LAYERS))
        assert plain.startswith(b"HTTP/1.1 404 ")
        # The connection goes on.
        assert (await client.ask(get())).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("fallback", ["empty", "last", "error"])
async def test_the_fallback_is_that_of_the_layers(
    aggregator: FakeAggregator, fallback: str
) -> None:
    settings = {"fallback": fallback, "retry_attempts": 1, "breaker_min_calls": 100}
    async with connect(aggregator, **settings) as client:
        assert (await client.ask(get())).startswith(b"HTTP/1.1 200 ")
        await aggregator.go_down()
        plain = await client.ask(get())
        through_layers = await client.ask(get(headers=LAYERS))
        age = rb"(?i)age: \d+\r\n"
        assert re.sub(age, b"", plain) == re.sub(age, b"", through_layers)
        assert b"x-data-status: live" not in plain.lower()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (get(version=b"1.0"), b"200"),
        (get(headers=b"Connection: close\r\n"), b"200"),
        (get(headers=b"Origin: http://evil.example\r\n"), b"200"),
        (get(headers=b"Content-Length: 0\r\n"), b"200"),
        (get().replace(b"localhost", b"evil.example"), b"403"),
        (get("%41APL"), b"200"),
        (get().replace(b"GET", b"HEAD"), b"200"),
        (get().replace(b"AAPL", b"AAPL?x=1"), b"200"),
        (get().replace(b"Host: localhost\r\n", b""), b"400"),
        (get(headers=b"Host: localhost\r\n"), b"400"),
        (get().replace(b"GET", b"DELETE"), b"405"),
    ],
)
async def test_the_layers_answer_whatever_is_not_plain(
    aggregator: FakeAggregator, layered: list[bytes], request_bytes: bytes, status: bytes
) -> None:
    async with connect(aggregator) as client:
        client.writer.write(request_bytes)
        async with asyncio.timeout(TIMEOUT_S):
            line = await client._reader.readline()
    assert line.split()[1] == status
    assert layered == [request_bytes]


async def test_requests_that_come_together_are_answered_in_their_order(
    aggregator: FakeAggregator,
) -> None:
    async with connect(aggregator) as client:
        client.writer.write(get() + get("NOPE") + get())
        statuses = [(await client.read()).split()[1] for _ in range(3)]
        assert statuses == [b"200", b"404", b"200"]


async def test_requests_that_come_before_the_answer_wait(aggregator: FakeAggregator) -> None:
    async with connect(aggregator) as client:
        for symbol in ("AAPL", "NOPE", "AAPL", "AAPL"):
            client.writer.write(get(symbol))
            await client.writer.drain()
            await asyncio.sleep(0)
        statuses = [(await client.read()).split()[1] for _ in range(4)]
        assert statuses == [b"200", b"404", b"200", b"200"]


async def test_a_request_in_pieces_is_answered(aggregator: FakeAggregator) -> None:
    async with connect(aggregator) as client:
        whole = await client.ask(get())
        for piece in (get()[:20], get()[20:]):
            client.writer.write(piece)
            await client.writer.drain()
            await asyncio.sleep(0.01)
        pieces = re.sub(rb"(?i)date: [^\r]*\r\n", b"", await client.read())
        assert pieces == whole


async def test_a_client_that_leaves_before_the_answer_harms_nobody(
    aggregator: FakeAggregator,
) -> None:
    async with connect(aggregator) as client:
        client.writer.write(get())
        client.writer.transport.abort()
        await asyncio.sleep(0.05)


async def test_an_idle_connection_is_closed_after_a_plain_read(
    aggregator: FakeAggregator,
) -> None:
    async with connect(aggregator, keep_alive_s=1) as client:
        await client.ask(get())
        assert await client.is_closed()


async def test_with_a_rate_limit_the_layers_count(
    aggregator: FakeAggregator, layered: list[bytes]
) -> None:
    async with connect(aggregator, rate_limit=2) as client:
        statuses = [(await client.ask(get())).split()[1] for _ in range(4)]
    assert statuses.count(b"429") == 2
    assert len(layered) == 4


async def test_a_bug_is_500_for_the_client(
    aggregator: FakeAggregator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> bytes:
        raise RuntimeError("a bug")

    monkeypatch.setattr("gateway.backend.client.Reading.json", property(fail))
    async with connect(aggregator) as client:
        assert (await client.ask(get())).startswith(b"HTTP/1.1 500 ")
