"""graphql-transport-ws over real sockets, with a real aggregator."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway.encoding import AGGREGATE_KEYS
from tests.doubles.market import Market, run_market

SUBSCRIBE = "subscription { marketData(symbols: %s) { symbol close sequence epoch } }"


class Client:
    """A client of graphql-transport-ws that shows every message."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def send(self, message: dict[str, Any] | str | bytes) -> None:
        text = json.dumps(message) if isinstance(message, dict) else message
        await self._socket.send(text)

    async def subscribe(self, operation: str, query: str, **payload: Any) -> None:
        payload["query"] = query
        await self.send({"type": "subscribe", "id": operation, "payload": payload})

    async def next(self) -> Any:
        async with asyncio.timeout(10):
            return json.loads(await self._socket.recv())

    async def payload(self) -> Any:
        message = await self.next()
        assert message["type"] == "next", message
        return message["payload"]

    async def until(self, status: str) -> Any:
        """Return the first payload whose dataStatus is ``status``."""
        while (payload := await self.payload())["extensions"]["dataStatus"] != status:
            pass
        return payload

    async def closed(self) -> tuple[int, str]:
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await self._socket.recv()
        assert self._socket.close_code is not None
        assert self._socket.close_reason is not None
        return self._socket.close_code, self._socket.close_reason


@contextlib.asynccontextmanager
async def open_client(
    market: Market, *, init: bool = True, subprotocol: str = "graphql-transport-ws", **options: Any
) -> AsyncIterator[Client]:
    subprotocols: Any = [subprotocol] if subprotocol else None
    address = f"ws://{market.address}/graphql"
    async with connect(address, subprotocols=subprotocols, proxy=None, **options) as socket:
        assert socket.subprotocol == (subprotocol or None)
        client = Client(socket)
        if init:
            await client.send({"type": "connection_init"})
            assert await client.next() == {"type": "connection_ack"}
        yield client


@pytest.fixture
async def market() -> AsyncIterator[Market]:
    async with run_market() as market:
        await market.trade("AAPL", 151.5)
        yield market


async def test_a_subscription_starts_with_the_present_and_continues(market: Market) -> None:
    async with open_client(market) as client:
        await client.subscribe("1", SUBSCRIBE % '["AAPL", "NEW"]')
        state = (await client.payload())["data"]["marketData"]
        assert (state["symbol"], state["close"], state["sequence"]) == ("AAPL", 151.5, "1")
        await market.trade("AAPL", 152.0)
        state = (await client.payload())["data"]["marketData"]
        assert (state["symbol"], state["close"], state["sequence"]) == ("AAPL", 152.0, "2")
        await market.trade("NEW", 1.0)
        assert (await client.payload())["data"]["marketData"]["symbol"] == "NEW"


async def test_queries_run_on_the_same_connection(market: Market) -> None:
    async with open_client(market) as client:
        query = "query Q($s: String!) { marketData(symbol: $s) { close } }"
        await client.subscribe("q", query, variables={"s": "AAPL"}, operationName="Q")
        assert await client.next() == {
            "id": "q",
            "type": "next",
            "payload": {
                "data": {"marketData": {"close": 151.5}},
                "extensions": {"dataStatus": "live"},
            },
        }
        assert await client.next() == {"id": "q", "type": "complete"}


async def test_a_subscription_outlives_the_aggregator(market: Market) -> None:
    async with open_client(market) as client:
        await client.subscribe("1", SUBSCRIBE % '["AAPL"]')
        before = (await client.payload())["data"]["marketData"]
        await market.close()
        stale = await client.until("stale")
        assert stale["data"]["marketData"] == before
        await market.open()
        # The new aggregator knows nothing yet.
        assert (await client.until("live"))["data"] == {"marketData": None}
        await market.trade("AAPL", 1.5)
        payload = await client.payload()
        assert payload["data"]["marketData"]["close"] == 1.5
        assert payload["data"]["marketData"]["epoch"] != before["epoch"]
        assert payload["extensions"] == {"dataStatus": "live", "recovered": False}


async def test_who_comes_back_misses_nothing(market: Market) -> None:
    async with open_client(market) as client:
        await client.subscribe("1", SUBSCRIBE % '["AAPL"]')
        seen = (await client.payload())["data"]["marketData"]
        async with open_client(market) as other:
            await other.subscribe("1", SUBSCRIBE % '["AAPL"]')
            await other.payload()
            await client.send({"type": "complete", "id": "1"})
            await client.send({"type": "ping"})
            assert await client.next() == {"type": "pong"}
            for price in (1.0, 2.0, 3.0):
                await market.trade("AAPL", price)
                assert (await other.payload())["data"]["marketData"]["close"] == price
        query = """subscription ($epoch: String!, $seen: [LastSequence!]!) {
            marketData(symbols: ["AAPL"], policy: BUFFER,
                       resume: {epoch: $epoch, lastSequences: $seen}) { close } }"""
        last = [{"symbol": "AAPL", "sequence": seen["sequence"]}]
        variables = {"epoch": seen["epoch"], "seen": last}
        await client.subscribe("1", query, variables=variables)
        for price in (1.0, 2.0, 3.0):
            assert await client.payload() == {
                "data": {"marketData": {"close": price}},
                "extensions": {"dataStatus": "live", "recovered": True},
            }


async def test_the_close_codes_are_the_protocols(market: Market) -> None:
    async with open_client(market, init=False) as client:
        await client.subscribe("1", "{ __typename }")
        assert await client.closed() == (4401, "Unauthorized")
    async with open_client(market) as client:
        await client.send({"type": "connection_init"})
        assert await client.closed() == (4429, "Too many initialisation requests")
    async with open_client(market) as client:
        for _ in range(2):
            await client.subscribe("1", SUBSCRIBE % '["AAPL"]')
        assert await client.closed() == (4409, "Subscriber for 1 already exists")
    for message in ("", "{}", '{"type":"nope"}', b'{"type":"ping"}'):
        async with open_client(market) as client:
            await client.send(message)
            assert (await client.closed())[0] == 4400


async def test_without_the_subprotocol_the_socket_closes_with_4406(market: Market) -> None:
    async with open_client(market, init=False, subprotocol="") as client:
        assert await client.closed() == (4406, "Subprotocol not acceptable")


async def test_without_connection_init_the_socket_closes_with_4408() -> None:
    async with (
        run_market(first_message_timeout_s=0.05) as market,
        open_client(market, init=False) as client,
    ):
        assert await client.closed() == (4408, "Connection initialisation timeout")


async def test_ping_is_answered_before_the_acknowledgement(market: Market) -> None:
    async with open_client(market, init=False) as client:
        await client.send({"type": "ping", "payload": {"n": 1}})
        assert await client.next() == {"type": "pong", "payload": {"n": 1}}


async def test_a_message_over_the_limit_closes_the_socket() -> None:
    async with run_market(max_message_bytes=1024) as market, open_client(market) as client:
        await client.send({"type": "ping", "payload": {"x": "x" * 2000}})
        assert (await client.closed())[0] == 1009


async def test_a_page_of_another_origin_is_refused_at_the_handshake(market: Market) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with open_client(market, origin="https://evil.example"):
            pass
    assert caught.value.response.status_code == 403
    async with open_client(market, origin=f"http://{market.address}"):
        pass


async def test_there_are_only_so_many_connections() -> None:
    async with run_market(max_connections=1) as market, open_client(market):
        with pytest.raises(InvalidStatus) as caught:
            async with open_client(market):
                pass
        assert caught.value.response.status_code == 503


async def test_a_client_that_does_not_read_gets_the_newest_and_costs_nobody_else(
    market: Market,
) -> None:
    symbols = [f"S{n}" for n in range(20)]
    query = "subscription { marketData(symbols: %s) { %s } }"
    operations, prices = 50, 30
    async with open_client(market, max_queue=1) as slow, open_client(market) as quick:
        # 50 operations on 20 symbols: 10 MB, more than what the kernel keeps for a socket.
        for operation in range(operations):
            await slow.subscribe(
                str(operation), query % (json.dumps(symbols), " ".join(AGGREGATE_KEYS))
            )
        await quick.subscribe("1", SUBSCRIBE % '["S0"]')
        for price in range(1, prices + 1):
            for symbol in symbols:
                await market.trade(symbol, price)
            assert (await quick.payload())["data"]["marketData"]["close"] == price
        newest: dict[tuple[str, str], float] = {}
        conflated = messages = 0
        while len(newest) < operations * len(symbols) or set(newest.values()) != {prices}:
            message = await slow.next()
            state = message["payload"]["data"]["marketData"]
            newest[message["id"], state["symbol"]] = state["close"]
            conflated += message["payload"]["extensions"].get("conflated", 0)
            messages += 1
    assert conflated > 0
    assert messages + conflated == operations * len(symbols) * prices
