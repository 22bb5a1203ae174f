"""Streams over SSE, from a real aggregator to ``httpx-sse`` and to bare sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from random import Random
from time import monotonic
from typing import Any

import httpx
import pytest
import pytest_asyncio
from httpx_sse import EventSource, ServerSentEvent, aconnect_sse

from tests.doubles.pipeline import TIMEOUT_S, run_aggregator
from tests.integration.gateway.streams import (
    Gateway,
    Producer,
    connect_socket,
    eventually,
    run_feed,
    run_gateway,
    run_market,
    states,
)

PATH = "/api/v1/stream"

Market = tuple[Gateway, Producer]
Reader = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest_asyncio.fixture
async def market() -> AsyncIterator[Market]:
    async with run_market() as (gateway, _, producer):
        yield gateway, producer


@pytest_asyncio.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_S) as http:
        yield http


class Events:
    """The events of one response."""

    def __init__(self, source: EventSource) -> None:
        self.response = source.response
        self._events = source.aiter_sse()

    async def next(self, name: str) -> ServerSentEvent:
        """Return the next event of a name; those before it are thrown away."""
        async with asyncio.timeout(TIMEOUT_S):
            while (event := await anext(self._events)).event != name:
                pass
            return event

    async def update(self) -> Any:
        return (await self.next("update")).json()


@contextlib.asynccontextmanager
async def listen(
    gateway: Gateway, http: httpx.AsyncClient, symbols: str, last_event_id: str = "", **query: str
) -> AsyncIterator[Events]:
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    url = f"http://{gateway.address}{PATH}"
    params = {"symbols": symbols, **query}
    async with aconnect_sse(http, "GET", url, params=params, headers=headers) as source:
        yield Events(source)


@contextlib.asynccontextmanager
async def open_raw(gateway: Gateway, query: str, **options: int) -> AsyncIterator[Reader]:
    """Ask over a bare socket, and read only when told to."""
    sock = await connect_socket(gateway, **options)
    reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
    try:
        writer.write(f"GET {PATH}?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        yield reader, writer
    finally:
        writer.transport.abort()


async def test_a_client_gets_the_status_and_the_json_of_rest(
    market: Market, http: httpx.AsyncClient
) -> None:
    gateway, producer = market
    await producer.publish("AAPL")
    async with listen(gateway, http, "AAPL,MSFT") as events:
        headers = events.response.headers
        assert headers["content-type"] == "text/event-stream"
        assert headers["cache-control"] == "no-store"
        assert headers["x-accel-buffering"] == "no"
        first = await events.next("status")
        assert 1000 <= (first.retry or 0) <= 3000
        update = await events.next("update")
        rest = await http.get(f"http://{gateway.address}/api/v1/marketdata/AAPL")
        assert update.json()["data"] == rest.json()
        assert update.id == f"{rest.json()['epoch']}:AAPL=1"
        await producer.publish("MSFT")
        assert (await events.update())["data"]["symbol"] == "MSFT"
    await gateway.wait_until_left()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_events_are_framed_as_the_version_of_http_wants_it(
    market: Market, version: str
) -> None:
    gateway, producer = market
    await producer.publish("AAPL")
    reader, writer = await asyncio.open_connection(sock=await connect_socket(gateway))
    writer.write(f"GET {PATH}?symbols=AAPL HTTP/{version}\r\nHost: x\r\n\r\n".encode())
    async with asyncio.timeout(TIMEOUT_S):
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readuntil(b"AAPL=1\n")
        await reader.readuntil(b"}\n\n")
        is_chunked = b"transfer-encoding: chunked" in head.lower()
        assert is_chunked is (version == "1.1")
        assert await reader.readexactly(2 * is_chunked) == b"\r\n" * is_chunked
        await producer.publish("AAPL")
        size = await reader.readuntil(b"\r\n") if is_chunked else b""
        event = await reader.readuntil(b"}\n\n")
        assert event.startswith(b"event: update\nid: ")
        assert size == (b"%x\r\n" % len(event) if is_chunked else b"")
    writer.transport.abort()


async def test_head_has_the_headers_and_no_stream(market: Market, http: httpx.AsyncClient) -> None:
    gateway, _ = market
    response = await http.head(f"http://{gateway.address}{PATH}?symbols=AAPL")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream"
    assert gateway.hub.subscriptions == 0


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "symbols"),
        ("symbols=", "symbols"),
        ("symbols=A%2A", "symbols"),
        ("symbols=A,,B", "symbols"),
        ("symbols=" + "A," * 500 + "A", "symbols"),
        ("symbols=A&policy=drop", "policy"),
    ],
)
async def test_what_cannot_be_streamed_is_a_problem_before_the_stream(
    market: Market, http: httpx.AsyncClient, query: str, field: str
) -> None:
    gateway, _ = market
    for method in ("GET", "HEAD"):
        response = await http.request(method, f"http://{gateway.address}{PATH}?{query}")
        assert response.status_code == 422
        assert response.headers["content-type"] == "application/problem+json"
    response = await http.get(f"http://{gateway.address}{PATH}?{query}")
    assert response.json()["errors"][0]["field"] == field


async def test_a_client_over_the_number_of_connections_is_told_503(http: httpx.AsyncClient) -> None:
    async with run_gateway("127.0.0.1:1", max_connections=1) as gateway:
        async with listen(gateway, http, "A") as events:
            await events.next("status")
            response = await http.get(f"http://{gateway.address}{PATH}?symbols=A")
            assert response.status_code == 503
            assert 1 <= int(response.headers["retry-after"]) <= 6
            assert response.json()["type"] == "urn:market-data:too-many-clients"
        await gateway.wait_until_left()


async def test_when_the_aggregator_goes_its_clients_are_told_and_go_on_by_themselves(
    http: httpx.AsyncClient,
) -> None:
    async with run_aggregator() as first:
        port = first.port
        async with (
            run_gateway(f"127.0.0.1:{port}") as gateway,
            listen(gateway, http, "AAPL") as events,
        ):
            await Producer(port).publish("AAPL")
            before = await events.next("update")
            await first.stop()
            assert (await events.next("status")).json()["status"] == "stale"
            async with run_aggregator(port=port):
                assert (await events.next("status")).json()["status"] == "live"
                await Producer(port).publish("AAPL")
                after = await events.update()
                assert after["recovered"] is False
                async with listen(gateway, http, "AAPL", before.id) as again:
                    assert (await again.update())["recovered"] is False


async def test_a_client_cut_a_hundred_times_misses_nothing_and_gets_nothing_twice(
    market: Market, http: httpx.AsyncClient
) -> None:
    gateway, producer = market
    random = Random(41)
    seen: dict[str, list[int]] = {"AAPL": [], "ES=F": []}
    last = ""
    async with run_feed(producer, "AAPL", "ES=F") as due:
        for _ in range(101):
            count = random.randint(1, 4)
            async with listen(gateway, http, "AAPL,ES=F", last, policy="buffer") as events:
                for _ in range(count):
                    due.release()
                for number in range(count):
                    event = await events.next("update")
                    update = event.json()
                    if last and number == 0:
                        assert update["recovered"] is True
                    seen[update["data"]["symbol"]].append(int(update["sequence"]))
                    last = event.id
    for sequences in seen.values():
        # It begins with the state that is the present one when the aggregator hears of it.
        assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
    assert sum(map(len, seen.values())) > 200
    await gateway.wait_until_left()


@pytest.mark.parametrize("last", ["nonsense", "1:AAPL=1", "1", "x" * 5000])
async def test_a_last_event_id_that_tells_nothing_gives_a_snapshot(
    market: Market, http: httpx.AsyncClient, last: str
) -> None:
    gateway, producer = market
    await producer.publish("AAPL")
    async with listen(gateway, http, "AAPL", last) as events:
        assert (await events.update())["recovered"] is False
    async with listen(gateway, http, "*", lastEventId=last) as events:
        assert (await events.update())["recovered"] is False


async def test_a_browser_that_comes_back_says_so_in_the_header_and_not_in_its_address(
    market: Market, http: httpx.AsyncClient
) -> None:
    gateway, producer = market
    async with listen(gateway, http, "A") as events:
        for _ in range(3):
            await producer.publish("A")
        ids = [(await events.next("update")).id for _ in range(3)]
    async with listen(gateway, http, "A", ids[1], lastEventId=ids[0]) as events:
        assert (await events.update())["sequence"] == "3"


async def test_events_that_are_due_at_once_go_in_one_write() -> None:
    async with run_gateway("127.0.0.1:1") as gateway:
        async with open_raw(gateway, "symbols=*", buffer_bytes=256 * 1024) as (reader, _):
            await eventually(lambda: gateway.hub.subscriptions == 1)
            await reader.readuntil(b'"stale"}\n\n\r\n')
            gateway.hub.publish([states(f"S{n}", [1])[0] for n in range(50)])
            # One chunk of HTTP carries them all.
            size = int(await reader.readline(), 16)
            chunk = await reader.readexactly(size)
            assert chunk.count(b"event: update\n") == 50
        await gateway.wait_until_left()


async def test_a_silent_stream_has_comments() -> None:
    async with run_gateway("127.0.0.1:1", sse_keepalive_s=0.05) as gateway:
        async with open_raw(gateway, "symbols=A") as (reader, _), asyncio.timeout(TIMEOUT_S):
            for _ in range(3):
                await reader.readuntil(b"\r\n:\n\n\r\n")
        await gateway.wait_until_left()


async def test_a_reader_that_stalls_slows_nobody_and_gets_the_newest_when_it_goes_on(
    http: httpx.AsyncClient,
) -> None:
    async with run_gateway("127.0.0.1:1") as gateway:
        async with (
            open_raw(gateway, "symbols=A") as (stalled, _),
            listen(gateway, http, "A") as other,
        ):
            await eventually(lambda: gateway.hub.subscriptions == 2)
            last = 0
            for _ in range(200):
                gateway.hub.publish(states("A", range(last + 1, last + 101)))
                last += 100
                # Were it to wait for the one that stalls, this would never come.
                while int((await other.update())["sequence"]) != last:
                    pass
            received = b""
            async with asyncio.timeout(TIMEOUT_S):
                while f"id: 7:A={last}\n".encode() not in received[-10_000:]:
                    received += await stalled.read(65536)
            # It got what was on its way, then the newest at once.
            assert received.count(b"event: update") < last / 2
        await gateway.wait_until_left()


async def test_a_reader_that_stalls_too_long_for_its_buffer_is_told_and_ended() -> None:
    async with run_gateway("127.0.0.1:1", buffer_bytes=64 * 1024) as gateway:
        async with open_raw(gateway, "symbols=A&policy=buffer") as (reader, _):
            await eventually(lambda: gateway.hub.subscriptions == 1)
            last = 0
            while gateway.hub.subscriptions:
                gateway.hub.publish(states("A", range(last + 1, last + 31)))
                last += 30
                await asyncio.sleep(0)
            async with asyncio.timeout(TIMEOUT_S):
                received = await read_response(reader)
            assert b'event: error\ndata: {"type":"error","id":null,"code":"slow_con' in received
            # The response has an end, so that its client knows that it was not cut.
            assert received.endswith(b"\r\n0\r\n\r\n")
        await gateway.wait_until_left()


async def read_response(reader: asyncio.StreamReader) -> bytes:
    received = b""
    while not received.endswith(b"\r\n0\r\n\r\n"):
        received += await reader.read(65536)
    return received


async def test_a_stalled_reader_holds_bounded_memory() -> None:
    async with run_gateway("127.0.0.1:1") as gateway:
        async with open_raw(gateway, "symbols=*"):
            await eventually(lambda: gateway.hub.subscriptions == 1)
            (reader,) = gateway.streams
            symbols = [f"S{number}" for number in range(500)]
            for sequence in range(1, 100):
                gateway.hub.publish([states(each, [sequence])[0] for each in symbols])
                await asyncio.sleep(0)
            connection = reader.connection
            assert not connection.writable
            # The high water and what was in one write.
            assert connection.buffered_bytes <= 2 * 64 * 1024 + 1024
        await gateway.wait_until_left()


async def test_when_the_gateway_stops_streams_end(http: httpx.AsyncClient) -> None:
    async with contextlib.AsyncExitStack() as clients:
        async with run_gateway("127.0.0.1:1", shutdown_deadline_s=60) as gateway:
            events = await clients.enter_async_context(listen(gateway, http, "A"))
            await events.next("status")
            begin = monotonic()
        assert monotonic() - begin < 30
        with pytest.raises(StopAsyncIteration):
            await events.next("update")


async def test_a_client_that_vanishes_leaves_nothing_behind() -> None:
    async with run_gateway("127.0.0.1:1") as gateway:
        async with open_raw(gateway, "symbols=*"):
            await eventually(lambda: gateway.hub.subscriptions == 1)
        await gateway.wait_until_left()


async def test_a_reader_that_keeps_up_is_not_ended_by_a_large_batch(
    market: Market, http: httpx.AsyncClient
) -> None:
    gateway, producer = market
    symbols = [f"S{number}" for number in range(5000)]
    async with listen(gateway, http, "*", policy="buffer") as events:
        await eventually(lambda: gateway.hub.subscriptions == 1)
        await producer.publish(*symbols)
        got: set[str] = set()
        while len(got) < len(symbols):
            got.add((await events.update())["data"]["symbol"])
        assert got == set(symbols)
