"""A client for each endpoint with live states; each gives them as REST would write them."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import httpx
import orjson
from httpx_sse import aconnect_sse
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from marketdata.wire import market_data_pb2 as wire
from tests.doubles.pipeline import open_stub
from tests.doubles.stomp import decode, encode, open_stomp

TIMEOUT_S = 60
TOPIC = "/topic/market-data/"
FIELDS = (
    *("symbol", "open", "high", "low", "close", "volume", "timestamp"),
    *("timestampNs", "trades", "vwap", "complete", "coverage", "refused", "sequence", "epoch"),
)
COVERAGES = {
    wire.COVERAGE_NO_FEED: "no_feed",
    wire.COVERAGE_PARTIAL: "partial",
    wire.COVERAGE_FULL: "full",
}

State = dict[str, Any]
# Takes the address of the gateway and the symbols. Yields None when it has subscribed, then states.
Endpoint = Callable[[str, Sequence[str]], AsyncGenerator[State | None, None]]


async def stomp(address: str, symbols: Sequence[str]) -> AsyncGenerator[State | None, None]:
    async with open_stomp(address) as client:
        await client.subscribe(TOPIC + ",".join(symbols))
        yield None
        while True:
            frame = await client.next()
            assert frame.command == "MESSAGE"
            state = frame.json
            assert frame["destination"] == TOPIC + state["symbol"]
            assert (frame["sequence"], frame["epoch"]) == (state["sequence"], state["epoch"])
            yield state


async def sockjs(address: str, symbols: Sequence[str]) -> AsyncGenerator[State | None, None]:
    """STOMP over xhr-polling, the least that SockJS has."""
    session = f"/ws/000/{uuid.uuid4()}"
    async with open_http(address) as http:

        async def poll() -> list[str]:
            text = (await http.post(f"{session}/xhr")).raise_for_status().text
            if text[0] != "a":
                assert text in {"o\n", "h\n"}
                return []
            return [each for each in orjson.loads(text[1:]) if each != "\n"]

        async def send(frame: str) -> None:
            answer = await http.post(f"{session}/xhr_send", content=orjson.dumps([frame]))
            assert answer.status_code == 204

        assert await poll() == []
        await send(encode("CONNECT", accept_version="1.2", host="test"))
        assert decode((await poll())[0]).command == "CONNECTED"
        await send(encode("SUBSCRIBE", id="0", destination=TOPIC + ",".join(symbols), receipt="s"))
        frames = [decode(each) for each in await poll()]
        assert frames[0]["receipt-id"] == "s"
        yield None
        for frame in frames[1:]:
            yield frame.json
        while True:
            for each in await poll():
                frame = decode(each)
                assert frame.command == "MESSAGE"
                yield frame.json


async def stream_websocket(
    address: str, symbols: Sequence[str]
) -> AsyncGenerator[State | None, None]:
    url = f"ws://{address}/api/v1/stream?symbols={','.join(symbols)}"
    async with connect(url, proxy=None) as client:
        async for text in client:
            message = orjson.loads(text)
            if message["type"] == "subscribed":
                yield None
            elif message["type"] == "update":
                yield positioned(message)
            else:
                assert message == {"type": "status", "status": "live"}


async def sse(address: str, symbols: Sequence[str]) -> AsyncGenerator[State | None, None]:
    query = {"symbols": ",".join(symbols)}
    async with (
        open_http(address) as http,
        aconnect_sse(http, "GET", "/api/v1/stream", params=query) as source,
    ):
        async for event in source.aiter_sse():
            if event.event == "status":
                assert event.json()["status"] == "live"
                yield None
            else:
                assert event.event == "update"
                yield positioned(event.json())


async def plain_websocket(
    address: str, symbols: Sequence[str]
) -> AsyncGenerator[State | None, None]:
    """One symbol per connection, so this follows only the first."""
    async with connect(f"ws://{address}/ws/marketdata?symbol={symbols[0]}", proxy=None) as client:
        yield None
        async for text in client:
            state = orjson.loads(text)
            # The original's: these are numbers there.
            for name in ("volume", "timestamp"):
                assert isinstance(state[name], int)
                state[name] = str(state[name])
            yield state


async def graphql(address: str, symbols: Sequence[str]) -> AsyncGenerator[State | None, None]:
    query = "subscription ($symbols: [String!]!) { marketData(symbols: $symbols) { %s } }"
    payload = {"query": query % " ".join(FIELDS), "variables": {"symbols": symbols}}
    protocols = [Subprotocol("graphql-transport-ws")]
    url = f"ws://{address}/graphql"
    async with connect(url, subprotocols=protocols, proxy=None) as client:
        await client.send('{"type":"connection_init"}')
        assert orjson.loads(await client.recv()) == {"type": "connection_ack"}
        subscribe = {"type": "subscribe", "id": "1", "payload": payload}
        await client.send(orjson.dumps(subscribe).decode())
        # Its answer comes after the subscription took effect.
        await client.send('{"type":"ping"}')
        async for text in client:
            message = orjson.loads(text)
            if message["type"] == "pong":
                yield None
            else:
                assert message["type"] == "next", message
                assert message["payload"]["extensions"]["dataStatus"] == "live"
                yield message["payload"]["data"]["marketData"]


async def grpc_watch(address: str, symbols: Sequence[str]) -> AsyncGenerator[State | None, None]:
    """Ask the aggregator, so ``address`` is its own."""
    async with open_stub(int(address.rpartition(":")[2])) as stub:
        call = stub.Watch()
        await call.write(wire.WatchRequest(add=symbols))
        await call.initial_metadata()
        yield None
        while isinstance(batch := await call.read(), wire.UpdateBatch):
            for state in batch.updates:
                yield written_as_rest(state)


def written_as_rest(state: wire.Aggregate) -> State:
    """Write a state as docs/rest.md says."""
    return {
        **{name: getattr(state, name) for name in ("symbol", "open", "high", "low", "close")},
        **{name: str(getattr(state, name)) for name in ("volume", "trades", "sequence", "epoch")},
        "timestamp": str(state.timestamp // 1_000_000),
        "timestampNs": str(state.timestamp),
        "vwap": state.vwap,
        "complete": state.coverage == wire.COVERAGE_FULL and not state.refused,
        "coverage": COVERAGES[state.coverage],
        "refused": str(state.refused),
    }


def positioned(message: Any) -> State:
    """Return the state in an update, which says twice which one it is."""
    state: State = message["data"]
    assert (message["sequence"], message["epoch"]) == (state["sequence"], state["epoch"])
    return state


def open_http(address: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=f"http://{address}", trust_env=False, verify=False, timeout=TIMEOUT_S
    )
