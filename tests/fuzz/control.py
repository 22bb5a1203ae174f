"""Clients that behave, one at each endpoint: whatever happens beside them, they see live data."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import httpx
import orjson
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from marketdata.wire import market_data_pb2 as wire
from marketdata.wire.market_data_pb2_grpc import MarketDataServiceStub
from tests.doubles.pipeline import make_tick, send
from tests.doubles.stomp import encode

SYMBOL = "CONTROL"
TIMEOUT_S = 30
_CLOSE = re.compile(r'"close":([0-9.]+)')
_GRAPHQL = f'marketData(symbol: "{SYMBOL}") {{ close }}'
_STOMP_CONNECT = encode("CONNECT", accept_version="1.2")
_STOMP_SUBSCRIBE = encode("SUBSCRIBE", id="1", destination=f"/topic/market-data/{SYMBOL}")

Opener = Callable[[], AsyncIterator[str]]


class Control:
    """Live clients of every endpoint that stay connected, and the producer of what they see."""

    def __init__(self, ingest: int, aggregator: int, gateway: int) -> None:
        self._ingest, self._aggregator, self._gateway = ingest, aggregator, gateway
        self._seen: dict[str, float] = {}
        self._changed = asyncio.Condition()
        self._price = 1000.25

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Keep the live clients connected for the time of the context."""
        endpoints: dict[str, Opener] = {
            "grpc": self._watch_grpc,
            "sse": self._watch_sse,
            "sockjs xhr_streaming": self._watch_xhr,
            "plain": lambda: self._websocket(f"/ws/marketdata?symbol={SYMBOL}"),
            "stream": lambda: self._websocket(f"/api/v1/stream?symbols={SYMBOL}"),
            "stomp": lambda: self._websocket("/ws", _STOMP_CONNECT, _STOMP_SUBSCRIBE),
            "sockjs websocket": lambda: self._websocket(
                "/ws/0/control/websocket",
                *(dumps([each]) for each in (_STOMP_CONNECT, _STOMP_SUBSCRIBE)),
            ),
            "graphql": self._watch_graphql,
        }
        self._seen = dict.fromkeys(endpoints, 0.0)
        running = [asyncio.create_task(self._watch(*each)) for each in endpoints.items()]
        try:
            yield
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def check(self) -> None:
        """Send a price through ingest and wait until everybody has seen it."""
        self._price += 1.0
        await send(self._ingest, [make_tick(SYMBOL, self._price)])
        try:
            async with asyncio.timeout(TIMEOUT_S), self._changed:
                await self._changed.wait_for(
                    lambda: all(price == self._price for price in self._seen.values())
                )
        except TimeoutError:
            late = {name: price for name, price in self._seen.items() if price != self._price}
            raise AssertionError(f"no live data of {self._price} on {late}") from None
        async with self._http() as http:
            rest = await http.get(f"/api/v1/marketdata/{SYMBOL}")
            assert (rest.json()["close"], rest.headers["x-data-status"]) == (self._price, "live")
            graphql = await http.post("/graphql", json={"query": f"{{ {_GRAPHQL} }}"})
            assert graphql.json()["data"]["marketData"]["close"] == self._price

    def _http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self._gateway}",
            trust_env=False,
            verify=False,
            timeout=httpx.Timeout(TIMEOUT_S, read=60),
        )

    async def _watch(self, name: str, opener: Opener) -> None:
        async for text in opener():
            for found in _CLOSE.finditer(text.replace("\\", "")):
                async with self._changed:
                    self._seen[name] = float(found[1])
                    self._changed.notify_all()

    async def _websocket(self, path: str, *messages: str, protocol: str = "") -> AsyncIterator[str]:
        async with connect(
            f"ws://127.0.0.1:{self._gateway}{path}",
            subprotocols=[Subprotocol(protocol)] if protocol else None,
            proxy=None,
            compression=None,
        ) as websocket:
            for message in messages:
                await websocket.send(message)
            async for received in websocket:
                # A heart-beat is due every 10 s; more do no harm.
                if "stomp" in path or path == "/ws":
                    await websocket.send("\n")
                yield str(received)

    async def _watch_graphql(self) -> AsyncIterator[str]:
        query = f'subscription {{ marketData(symbols: ["{SYMBOL}"]) {{ close }} }}'
        subscribe = {"type": "subscribe", "id": "1", "payload": {"query": query}}
        messages = (dumps({"type": "connection_init"}), dumps(subscribe))
        async for text in self._websocket("/graphql", *messages, protocol="graphql-transport-ws"):
            yield text

    async def _watch_sse(self) -> AsyncIterator[str]:
        async with (
            self._http() as http,
            http.stream("GET", "/api/v1/stream", params={"symbols": SYMBOL}) as answer,
        ):
            async for line in answer.aiter_lines():
                yield line

    async def _watch_xhr(self) -> AsyncIterator[str]:
        session = "/ws/0/control-xhr"
        async with self._http() as http:
            # A streaming response ends after 128 KiB, and the client asks anew.
            while True:
                async with http.stream("POST", f"{session}/xhr_streaming") as answer:
                    async for line in answer.aiter_lines():
                        if line == "o":
                            for each in (_STOMP_CONNECT, _STOMP_SUBSCRIBE):
                                sent = await http.post(f"{session}/xhr_send", content=dumps([each]))
                                assert sent.status_code == 204
                        yield line

    async def _watch_grpc(self) -> AsyncIterator[str]:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self._aggregator}") as channel:
            stub = MarketDataServiceStub(channel)
            async for update in stub.StreamAggregates(wire.AggregateRequest(symbol=SYMBOL)):
                yield f'"close":{update.close}'


def dumps(value: Any) -> str:
    """Return compact JSON."""
    return orjson.dumps(value).decode()
