"""More connections than files may be open, and connections that say nothing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import grpc
import httpx
import pytest
from websockets.asyncio.client import connect as connect_websocket
from websockets.typing import Subprotocol

from marketdata.wire import market_data_pb2 as wire
from tests.doubles.pipeline import (
    TIMEOUT_S,
    connect,
    frame,
    make_tick,
    open_stub,
    run_aggregator,
    run_ingest,
    send,
    wait_closed,
    wait_for_trades,
)
from tests.doubles.processes import Service, run_gateway, run_service

OPEN_FILES = 200
SILENT = 300
UNREACHABLE = "127.0.0.1:1"
# How long the services wait for clients that say nothing.
SOON_S = 2


@contextlib.contextmanager
def silent_clients(port: int, count: int = SILENT, data: bytes = b"") -> Iterator[None]:
    """Connect many clients that send ``data`` and no more."""
    with contextlib.ExitStack() as clients:
        for _ in range(count):
            client = clients.enter_context(socket.socket())
            client.settimeout(TIMEOUT_S)
            client.connect(("127.0.0.1", port))
            with contextlib.suppress(OSError):
                client.sendall(data)
        yield


def assert_shortage_is_one_line(service: Service) -> None:
    assert len(service.said("accepting_paused")) == 1
    assert not [line for line in service.logs if "exception" in line or "Traceback" in str(line)]
    assert len(service.logs) < 20


async def test_ingest_without_descriptors_serves_its_producers_and_takes_others_later() -> None:
    async with run_aggregator() as aggregator:
        env = {
            "INGEST_PORT": "0",
            "INGEST_AGGREGATOR": f"127.0.0.1:{aggregator.port}",
            "INGEST_FIRST_TICK_TIMEOUT_S": str(SOON_S),
        }
        async with run_service("ingest", env, open_files=OPEN_FILES) as ingest:
            port = await ingest.wait_for_port()
            async with connect(port) as (_, producer):
                producer.write(frame(make_tick()))
                await wait_for_trades(aggregator, "AAPL", 1)
                with silent_clients(port):
                    await ingest.wait_for_log("accepting_paused")
                    async with asyncio.timeout(1):
                        producer.write(frame(make_tick()))
                        await wait_for_trades(aggregator, "AAPL", 2)
                    # When silent ones were closed, there is room.
                    async with asyncio.timeout(5 * SOON_S):
                        await send(port, [make_tick()])
                        await wait_for_trades(aggregator, "AAPL", 3)
                    # One that has sent a tick may be silent.
                    producer.write(frame(make_tick()))
                    await wait_for_trades(aggregator, "AAPL", 4)
            assert await ingest.stop() == 0
            assert ingest.logs[-1]["closed"]["no_first_tick"] >= OPEN_FILES - 100
            assert_shortage_is_one_line(ingest)


async def test_a_gateway_without_descriptors_serves_its_clients_and_takes_others_later() -> None:
    env = {
        "GATEWAY_PORT": "0",
        "GATEWAY_AGGREGATOR": UNREACHABLE,
        "GATEWAY_REQUEST_TIMEOUT_S": str(SOON_S),
    }
    async with run_service("gateway", env, open_files=OPEN_FILES) as gateway:
        port = await gateway.wait_for_port()
        base = f"http://127.0.0.1:{port}"
        async with (
            httpx.AsyncClient(base_url=base, trust_env=False, timeout=5 * SOON_S) as http,
            http.stream("GET", "/api/v1/stream?symbols=A") as live,
        ):
            assert live.status_code == 200
            with silent_clients(port):
                await gateway.wait_for_log("accepting_paused")
                assert (await http.get("/health/live")).status_code == 200
                assert not live.is_closed
        assert await gateway.stop() == 0
        assert_shortage_is_one_line(gateway)


async def test_an_aggregator_without_descriptors_serves_its_clients_and_takes_others_later() -> (
    None
):
    env = {"AGGREGATOR_PORT": "0", "AGGREGATOR_CONNECT_TIMEOUT_S": str(SOON_S)}
    async with run_service("aggregator", env, open_files=OPEN_FILES) as aggregator:
        port = await aggregator.wait_for_port()
        async with open_stub(port) as stub:
            await stub.StreamTicks(iter([make_tick()]))
            with silent_clients(port):
                await asyncio.sleep(0.5)
                answer = await stub.GetAggregate(wire.AggregateRequest(symbol="AAPL"), timeout=1)
                assert answer.trades == 1
                async with asyncio.timeout(10 * SOON_S):
                    while True:
                        async with open_stub(port) as other:
                            with contextlib.suppress(grpc.aio.AioRpcError):
                                await other.GetStatus(wire.StatusRequest(), timeout=1)
                                break
        assert await aggregator.stop() == 0
        assert len(aggregator.logs) < 20


@pytest.mark.parametrize(
    "sent",
    [b"", b"\x00\x00", frame(make_tick())[:-1]],
    ids=["nothing", "half a length", "half a tick"],
)
async def test_a_connection_that_sends_no_tick_is_closed_in_time(sent: bytes) -> None:
    async with (
        run_ingest(UNREACHABLE, first_tick_timeout_s=0.3, shutdown_deadline_s=0.2) as ingest,
        connect(ingest.listener.port) as (reader, writer),
    ):
        writer.write(sent)
        async with asyncio.timeout(SOON_S):
            await wait_closed(reader)
        assert ingest.closed.totals == {"no_first_tick": 1}


async def test_a_producer_that_has_sent_a_tick_may_be_silent() -> None:
    async with (
        run_aggregator() as aggregator,
        run_ingest(f"127.0.0.1:{aggregator.port}", first_tick_timeout_s=0.2) as ingest,
        connect(ingest.listener.port) as (reader, writer),
    ):
        writer.write(frame(make_tick()))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(), 0.6)
        writer.write(frame(make_tick()))
        await wait_for_trades(aggregator, "AAPL", 2)


async def test_connections_without_a_tick_make_room_for_producers() -> None:
    async with (
        run_aggregator() as aggregator,
        run_ingest(f"127.0.0.1:{aggregator.port}", max_connections=3) as ingest,
        connect(ingest.listener.port) as (_, first),
    ):
        first.write(frame(make_tick()))
        await wait_for_trades(aggregator, "AAPL", 1)
        with silent_clients(ingest.listener.port, 5):
            await send(ingest.listener.port, [make_tick()])
            await wait_for_trades(aggregator, "AAPL", 2)
        first.write(frame(make_tick()))
        await wait_for_trades(aggregator, "AAPL", 3)
        assert "too_many_connections" not in ingest.closed.totals


REQUEST = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
POST = (
    b"POST /graphql HTTP/1.1\r\nHost: x\r\n"
    b"Content-Type: application/json\r\nContent-Length: 99\r\n\r\n"
)


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HT", REQUEST[:-2], POST, POST + b"{", REQUEST + b"GET", REQUEST + POST]
)
async def test_half_a_request_is_closed_in_time(sent: bytes) -> None:
    async with run_gateway(1, GATEWAY_REQUEST_TIMEOUT_S="0.5") as (_, http):
        port = http.base_url.port
        assert port is not None
        async with connect(port) as (reader, writer), asyncio.timeout(SOON_S):
            writer.write(sent)
            await reader.read()


async def test_a_request_in_time_may_take_long_to_answer() -> None:
    async with (
        run_gateway(1, GATEWAY_REQUEST_TIMEOUT_S="0.5") as (_, http),
        http.stream("GET", "/api/v1/stream?symbols=A") as live,
    ):
        chunks = live.aiter_raw()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.5):
                while True:
                    await anext(chunks)
        assert not live.is_closed


@pytest.mark.parametrize("path", ["/ws/websocket", "/api/v1/stream", "/graphql"])
async def test_a_websocket_outlives_the_time_of_its_request(path: str) -> None:
    async with run_gateway(1, GATEWAY_REQUEST_TIMEOUT_S="0.5") as (_, http):
        url = f"ws://{http.base_url.netloc.decode()}{path}"
        subprotocols = [Subprotocol("graphql-transport-ws")] if path == "/graphql" else None
        async with connect_websocket(url, subprotocols=subprotocols) as socket:
            # Its answer to a ping after the timeout shows that the connection is there.
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await socket.wait_closed()
            await (await socket.ping())
