"""What live clients are told when the gateway stops, over each protocol."""

from __future__ import annotations

import asyncio
import contextlib
import re

import httpx
import orjson
import pytest
import websockets
from httpx_sse import aconnect_sse
from websockets.typing import Subprotocol

from tests.doubles.pipeline import TIMEOUT_S
from tests.doubles.stomp import open_stomp
from tests.integration.gateway.streams import (
    closed_with,
    open_websocket,
    receive,
    run_gateway,
    run_market,
    send,
)

STREAM = "/api/v1/stream"
NOBODY = "127.0.0.1:1"
REASON = r"server-shutdown; reconnectAfterMs=(\d+)"


def after_ms(reason: str | None) -> int:
    """Return the time in the reason of a close frame."""
    found = re.fullmatch(REASON, reason or "")
    assert found is not None, reason
    return int(found[1])


async def test_a_stream_gets_a_status_and_1012() -> None:
    async with contextlib.AsyncExitStack() as clients:
        async with run_gateway(NOBODY) as gateway:
            client = await clients.enter_async_context(open_websocket(gateway, STREAM))
            assert (await receive(client))["status"] == "stale"
        told = await receive(client)
        wait_ms = told.pop("reconnectAfterMs")
        assert told == {"type": "status", "status": "server-shutdown"}
        assert await closed_with(client) == 1012
        assert after_ms(client.close_reason) == wait_ms
        assert 1000 <= wait_ms <= 6000


async def test_a_plain_websocket_gets_1012_alone() -> None:
    async with contextlib.AsyncExitStack() as clients:
        async with run_gateway(NOBODY) as gateway:
            client = await clients.enter_async_context(open_websocket(gateway, "/ws/marketdata"))
        assert await closed_with(client) == 1012
        after_ms(client.close_reason)
        with pytest.raises(websockets.ConnectionClosed):
            await client.recv()


async def test_an_event_stream_gets_a_retry_with_its_last_event() -> None:
    async with (
        httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_S) as http,
        contextlib.AsyncExitStack() as clients,
    ):
        async with run_gateway(NOBODY) as gateway:
            url = f"http://{gateway.address}{STREAM}?symbols=AAPL"
            source = await clients.enter_async_context(aconnect_sse(http, "GET", url))
            events = source.aiter_sse()
            assert (await anext(events)).json()["status"] == "stale"
        last = await anext(events)
        assert last.event == "status"
        assert last.json()["status"] == "server-shutdown"
        assert last.retry == last.json()["reconnectAfterMs"]
        with pytest.raises(StopAsyncIteration):
            await anext(events)


async def test_a_stomp_session_gets_an_error_and_1012() -> None:
    async with contextlib.AsyncExitStack() as clients:
        async with run_gateway(NOBODY) as gateway:
            client = await clients.enter_async_context(open_stomp(gateway.address))
        error = await client.next()
        assert error.command == "ERROR"
        code, reason = await client.wait_closed()
        assert code == 1012
        assert error["message"] == reason
        assert int(error["reconnect-after-ms"]) == after_ms(reason)


async def test_a_sockjs_session_over_a_websocket_gets_a_close_frame() -> None:
    async with contextlib.AsyncExitStack() as clients:
        async with run_gateway(NOBODY) as gateway:
            client = await clients.enter_async_context(
                open_websocket(gateway, "/ws/000/session/websocket")
            )
            assert await client.recv() == "o"
        error, close = str(await client.recv()), str(await client.recv())
        assert error.startswith('a["ERROR')
        code, reason = orjson.loads(close.removeprefix("c"))
        assert code == 1012
        after_ms(reason)
        assert await closed_with(client) == 1012


async def test_a_sockjs_session_that_polls_gets_a_close_frame() -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_S) as http:

        async def poll(address: str) -> str:
            return (await http.post(f"http://{address}/ws/000/session/xhr")).text

        async def follow(address: str) -> str:
            while not (frame := await poll(address)).startswith("c"):
                pass
            return frame

        async with run_gateway(NOBODY) as gateway:
            assert await poll(gateway.address) == "o\n"
            following = asyncio.create_task(follow(gateway.address))
            await asyncio.sleep(0.1)
        code, reason = orjson.loads((await following).removeprefix("c"))
        assert code == 1012
        after_ms(reason)


async def test_graphql_gets_1012_and_no_complete() -> None:
    async with contextlib.AsyncExitStack() as clients:
        async with run_market() as (gateway, _, producer):
            await producer.publish("AAPL")
            protocol = Subprotocol("graphql-transport-ws")
            client = await clients.enter_async_context(
                open_websocket(gateway, "/graphql", subprotocols=[protocol])
            )
            await send(client, type="connection_init")
            query = 'subscription { marketData(symbols: ["AAPL"]) { close } }'
            await send(client, type="subscribe", id="1", payload={"query": query})
            while (await receive(client))["type"] != "next":
                pass
        types = []
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                types.append((await receive(client))["type"])
        assert "complete" not in types
        assert client.close_code == 1012
        after_ms(client.close_reason)


async def test_a_slow_reader_gets_every_state_before_the_farewell() -> None:
    async with contextlib.AsyncExitStack() as clients:
        async with run_market() as (gateway, _, producer):
            client = await clients.enter_async_context(
                open_websocket(gateway, f"{STREAM}?symbols=*&policy=buffer", stalling=True)
            )
            symbols = [f"S{number}" for number in range(500)]
            async with producer.stream() as push:
                while not gateway.streams or not gateway.streams[0]._waiting:
                    await push(*symbols)
                    await asyncio.sleep(0)
            last = int(producer.price - 100)
            # The gateway has what one of its clients has.
            async with open_websocket(gateway, f"{STREAM}?symbols={symbols[-1]}") as quick:
                while (await receive(quick)).get("sequence") != str(last):
                    pass
            sent = dict.fromkeys(symbols, 0)

            async def read() -> None:
                with contextlib.suppress(websockets.ConnectionClosed):
                    while True:
                        message = orjson.loads(await client.recv())
                        if message["type"] == "update":
                            symbol = message["data"]["symbol"]
                            sequence = int(message["sequence"])
                            # The first is the state of the moment when it subscribed.
                            assert sent[symbol] in {0, sequence - 1}
                            sent[symbol] = sequence

            reading = asyncio.create_task(read())
        async with asyncio.timeout(TIMEOUT_S):
            await reading
        assert client.close_code == 1012
        assert set(sent.values()) == {last}


async def test_while_it_stops_the_gateway_is_not_ready_and_admits_nobody() -> None:
    async with (
        httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_S) as http,
        contextlib.AsyncExitStack() as clients,
    ):
        answers: list[httpx.Response] = []
        async with run_market() as (gateway, _, producer):
            url = f"http://{gateway.address}"
            assert (await http.get(f"{url}/health/ready")).status_code == 200
            # A client that reads nothing keeps the gateway waiting.
            client = await clients.enter_async_context(
                open_websocket(gateway, f"{STREAM}?symbols=*&policy=buffer", stalling=True)
            )
            symbols = [f"S{number}" for number in range(500)]
            async with producer.stream() as push:
                while not gateway.streams or not gateway.streams[0]._waiting:
                    await push(*symbols)
                    await asyncio.sleep(0)

            async def ask() -> None:
                while not gateway.sessions._stopped:  # noqa: ASYNC110
                    await asyncio.sleep(0)
                paths = "/health/ready", f"{STREAM}?symbols=A", "/api/v1/marketdata/S1"
                answers.extend([await http.get(f"{url}{path}") for path in paths])
                client.transport.abort()

            asking = asyncio.create_task(ask())
        await asking
    ready, stream, read = answers
    assert ready.status_code == 503
    assert ready.json() == {"status": "not ready", "checks": {"gateway": "stopping"}}
    assert stream.status_code == 503
    assert 1 <= int(stream.headers["Retry-After"]) <= 6
    # Requests are answered as long as connections are accepted.
    assert read.status_code == 200
    assert read.json()["symbol"] == "S1"
