"""Bars on every live endpoint: what is open first, then each later state, closed ones always."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from httpx_sse import aconnect_sse
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from gateway.encoding import bar_to_dict
from gateway.rest.schemas import BarBody
from tests.doubles.bar_book import EARLY, FINAL, PARTIAL
from tests.doubles.stomp import StompClient, open_stomp
from tests.integration.gateway.doubles import FakeAggregator, http_to_gateway
from tests.integration.gateway.streams import (
    Gateway,
    closed_with,
    open_websocket,
    receive_until,
    run_gateway,
    send,
)
from tests.integration.gateway.streams import receive as receive_message
from tests.integration.gateway.test_graphql_websocket import Client as GraphQLClient

MINUTE = 60 * 10**9
START = 1_735_201_200 * 10**9
SINCE = "2024-12-26T08:20:00Z"


@pytest.fixture
async def gateway(aggregator: FakeAggregator) -> AsyncIterator[Gateway]:
    aggregator.publish_bar("AAPL", "1m", START, state=FINAL)
    aggregator.publish_bar("AAPL", "1m", START + MINUTE, state=PARTIAL)
    async with run_gateway(aggregator.address) as gateway:
        async with asyncio.timeout(10):
            while not gateway.hub.intervals:  # noqa: ASYNC110  the feed connects by itself
                await asyncio.sleep(0.01)
        yield gateway


def go_on(aggregator: FakeAggregator) -> None:
    aggregator.publish_bar("AAPL", "1m", START + MINUTE, state=EARLY)
    aggregator.publish_bar("AAPL", "1m", START + MINUTE, state=FINAL)
    aggregator.complete("1m", START + 2 * MINUTE)


EXPECTED = [(1, "partial"), (1, "early"), (1, "final")]
WITH_HISTORY = [(0, "final"), *EXPECTED]


def shown(bar: dict[str, Any]) -> tuple[int, str]:
    BarBody.model_validate(bar, strict=True)
    return (int(bar["startNs"]) - START) // MINUTE, bar["state"]


@pytest.mark.parametrize(("since", "expected"), [("", EXPECTED), (SINCE, WITH_HISTORY)])
async def test_stream_websocket(
    aggregator: FakeAggregator, gateway: Gateway, since: str, expected: list[tuple[int, str]]
) -> None:
    async with open_websocket(gateway, "/api/v1/stream") as client:
        await receive_until(client, "status")
        asked = {"interval": "1m", **({"since": since} if since else {})}
        await send(client, type="subscribe", id="b", symbols=["AAPL"], **asked)
        subscribed = await receive_until(client, "subscribed")
        assert (subscribed["interval"], subscribed["symbols"]) == ("1m", ["AAPL"])
        seen = [shown((await receive_until(client, "update"))["data"]) for _ in expected[:-2]]
        go_on(aggregator)
        seen += [shown((await receive_until(client, "update"))["data"]) for _ in range(2)]
        assert seen == expected
        assert await receive_message(client) == {
            "type": "interval_complete",
            "id": "b",
            "interval": "1m",
            "end": str((START + 2 * MINUTE) // 10**6),
            "endNs": str(START + 2 * MINUTE),
            "epoch": "7",
        }
    await gateway.wait_until_left()


async def test_the_address_of_a_websocket_subscribes_to_bars(
    aggregator: FakeAggregator, gateway: Gateway
) -> None:
    path = f"/api/v1/stream?symbols=AAPL&interval=1m&since={SINCE}"
    async with open_websocket(gateway, path) as client:
        seen = [shown((await receive_until(client, "update"))["data"]) for _ in range(2)]
        assert seen == WITH_HISTORY[:2]


@pytest.mark.parametrize(
    ("message", "code", "says"),
    [
        ({"interval": "7m"}, "invalid_input", "1s 1m 5m 15m 1h 1d"),
        ({"interval": "15m"}, "invalid_interval", "one of 1s 1m 5m 1d"),
        ({"interval": "1w"}, "invalid_interval", "live bars, 1s 1m 5m 1d; it is made of 1d bars"),
        ({"since": SINCE}, "invalid_input", "for bars"),
        ({"interval": "1m", "since": "1735201200"}, "invalid_input", "seconds"),
        ({"interval": "1m", "since": SINCE, "symbols": ["*"]}, "invalid_input", "by name"),
    ],
)
async def test_what_cannot_be_subscribed_says_why(
    gateway: Gateway, message: dict[str, Any], code: str, says: str
) -> None:
    async with open_websocket(gateway, "/api/v1/stream") as client:
        await send(client, **{"type": "subscribe", "id": "b", "symbols": ["AAPL"], **message})
        error = await receive_until(client, "error")
        assert (error["code"], error["id"]) == (code, "b")
        assert says in error["message"]
        assert await closed_with(client) == 4400


@pytest.mark.parametrize(("since", "expected"), [("", EXPECTED), (SINCE, WITH_HISTORY)])
async def test_sse_and_coming_back(
    aggregator: FakeAggregator, gateway: Gateway, since: str, expected: list[tuple[int, str]]
) -> None:
    parameters = {"symbols": "AAPL", "interval": "1m", "since": since}
    url = f"http://{gateway.address}/api/v1/stream"
    last_id = ""
    async with asyncio.timeout(20), httpx.AsyncClient(trust_env=False) as http:
        async with aconnect_sse(http, "GET", url, params=parameters) as source:
            seen = []
            async for event in source.aiter_sse():
                if event.event == "update":
                    seen.append(shown(event.json()["data"]))
                    last_id = event.id or last_id
                    if len(seen) == len(expected) - 2:
                        go_on(aggregator)
                elif event.event == "interval_complete":
                    assert event.json()["end"] == str((START + 2 * MINUTE) // 10**6)
                    break
            assert seen == expected
        bar = aggregator.publish_bar("AAPL", "1m", START + 2 * MINUTE, state=PARTIAL)
        headers = {"Last-Event-ID": last_id}
        async with aconnect_sse(http, "GET", url, params=parameters, headers=headers) as source:
            async for event in source.aiter_sse():
                if event.event == "update":
                    break
            assert event.json()["recovered"] is True
            assert event.json()["data"] == json.loads(json.dumps(bar_to_dict(bar)))
    await gateway.wait_until_left()


async def test_sse_refuses_an_interval_before_it_begins(gateway: Gateway) -> None:
    url = f"http://{gateway.address}/api/v1/stream"
    async with httpx.AsyncClient(trust_env=False) as http:
        for interval, valid in (
            ("7m", "15m 1h 1d"),
            ("15m", "1s 1m 5m 1d"),
            ("1M", "live bars, 1s 1m 5m 1d; it is made of 1d bars"),
        ):
            response = await http.get(url, params={"symbols": "A", "interval": interval})
            assert response.status_code == 422
            assert valid in response.json()["detail"]
            assert response.json()["errors"][0]["field"] == "interval"


async def next_bars(client: StompClient, count: int) -> list[tuple[int, str]]:
    return [shown(frame.json) for frame in await client.messages(count)]


@pytest.mark.parametrize(("since", "expected"), [("", EXPECTED), (SINCE, WITH_HISTORY)])
async def test_stomp(
    aggregator: FakeAggregator, gateway: Gateway, since: str, expected: list[tuple[int, str]]
) -> None:
    async with open_stomp(gateway.address) as client:
        # In STOMP 1.2 a header may have colons only if they are escaped.
        headers = {"since": since.replace(":", r"\c")} if since else {}
        await client.subscribe("/topic/bars/1m/AAPL", **headers)
        seen = await next_bars(client, len(expected) - 2)
        go_on(aggregator)
        frames = await client.messages(2)
        assert seen + [shown(frame.json) for frame in frames] == expected
        assert frames[0]["destination"] == "/topic/bars/1m/AAPL"
        assert (frames[1]["sequence"], frames[1]["epoch"]) == ("4", "7")
        (marker,) = await client.messages(1)
        assert marker["destination"] == "/topic/bars/1m/AAPL"
        assert marker["type"] == "interval_complete"
        assert marker.json["end"] == str((START + 2 * MINUTE) // 10**6)


async def test_stomp_has_every_symbol_and_goes_on_where_a_client_was(
    aggregator: FakeAggregator, gateway: Gateway
) -> None:
    async with open_stomp(gateway.address) as client:
        await client.subscribe("/topic/bars/1m/*")
        await client.messages(1)
        aggregator.publish_bar("MSFT", "1m", START, state=FINAL)
        aggregator.publish_bar("AAPL", "1m", START + MINUTE, state=FINAL)
        frames = await client.messages(2)
        assert [frame["destination"] for frame in frames] == [
            "/topic/bars/1m/MSFT",
            "/topic/bars/1m/AAPL",
        ]
        resume = {"last_sequence": "2", "epoch": "7", "policy": "buffer"}
        await client.subscribe("/topic/bars/1m/AAPL", "1", **resume)
        (frame,) = await client.messages(1)
        assert (frame["sequence"], frame["recovered"]) == ("3", "true")


@pytest.mark.parametrize(
    ("destination", "headers", "says"),
    [
        ("/topic/bars/7m/AAPL", {}, "1s 1m 5m 15m 1h 1d"),
        ("/topic/bars/15m/AAPL", {}, "one of 1s 1m 5m 1d"),
        ("/topic/bars/1w/AAPL", {}, "live bars, 1s 1m 5m 1d; it is made of 1d bars"),
        ("/topic/bars/1m/", {}, "/topic/bars/1m/"),
        ("/topic/bars/1m/*", {"since": "0"}, "by name"),
        ("/topic/bars/1m/A", {"since": "12"}, "milliseconds"),
        ("/topic/bars/1m/A", {"since": "0", "last-sequence": "1", "epoch": "7"}, "without"),
        ("/topic/market-data/A", {"since": "0"}, "/topic/bars/"),
    ],
)
async def test_stomp_refuses_saying_why(
    gateway: Gateway, destination: str, headers: dict[str, str], says: str
) -> None:
    async with open_stomp(gateway.address) as client:
        await client.send("SUBSCRIBE", "", id="0", destination=destination, **headers)
        frame = await client.next()
        assert frame.command == "ERROR"
        assert says in frame["message"]


BAR = " ".join(BarBody.model_fields)


@contextlib.asynccontextmanager
async def graphql(gateway: Gateway) -> AsyncIterator[GraphQLClient]:
    uri = f"ws://{gateway.address}/graphql"
    async with connect(uri, subprotocols=[Subprotocol("graphql-transport-ws")], proxy=None) as ws:
        client = GraphQLClient(ws)
        await client.send({"type": "connection_init"})
        assert (await client.next())["type"] == "connection_ack"
        yield client


@pytest.mark.parametrize(("since", "expected"), [("", EXPECTED), (SINCE, WITH_HISTORY)])
async def test_graphql_subscription(
    aggregator: FakeAggregator, gateway: Gateway, since: str, expected: list[tuple[int, str]]
) -> None:
    async with graphql(gateway) as client:
        asked = f', since: "{since}"' if since else ""
        query = f'subscription {{ bars(symbols: ["AAPL"], interval: "1m"{asked}) {{ {BAR} }} }}'
        await client.subscribe("1", query)
        seen = [shown((await client.payload())["data"]["bars"]) for _ in expected[:-2]]
        go_on(aggregator)
        seen += [shown((await client.payload())["data"]["bars"]) for _ in range(2)]
        assert seen == expected
        payload = await client.payload()
        assert payload["data"] == {"bars": None}
        assert payload["extensions"]["intervalComplete"]["endNs"] == str(START + 2 * MINUTE)


@pytest.mark.parametrize(
    ("arguments", "field", "says"),
    [
        ('interval: "7m"', "interval", "1s 1m 5m 15m 1h 1d"),
        ('interval: "15m"', "interval", "one of 1s 1m 5m 1d"),
        ('interval: "3d"', "interval", "live bars, 1s 1m 5m 1d; it is made of 1d bars"),
        ('interval: "1m", since: "5"', "since", "seconds"),
    ],
)
async def test_graphql_subscription_refused(
    gateway: Gateway, arguments: str, field: str, says: str
) -> None:
    async with graphql(gateway) as client:
        query = f'subscription {{ bars(symbols: ["AAPL"], {arguments}) {{ start }} }}'
        await client.subscribe("1", query)
        message = await client.next()
        assert message["type"] == "error"
        (error,) = message["payload"]
        assert error["extensions"]["code"] == "BAD_USER_INPUT"
        assert error["extensions"]["errors"][0]["field"] == field
        assert says in error["message"]


async def ask(http: httpx.AsyncClient, arguments: str, selection: str = "") -> Any:
    page = "edges { cursor node { startNs state filler close } } pageInfo { hasNextPage "
    page += "hasPreviousPage startCursor endCursor }"
    query = f"{{ bars({arguments}) {{ {selection or page} }} }}"
    return (await http.post("/graphql", json={"query": query})).json()


async def test_graphql_connection(aggregator: FakeAggregator) -> None:
    for minute in range(5):
        aggregator.publish_bar("AAPL", "1m", START + minute * MINUTE, state=FINAL)
    base = 'symbol: "AAPL", interval: "1m"'
    async with http_to_gateway(aggregator) as http:
        seen, after = [], None
        for page_number in range(3):
            more = f', after: "{after}"' if after else ', from: "0"'
            page = (await ask(http, f"{base}, first: 2{more}"))["data"]["bars"]
            seen += [int(edge["node"]["startNs"]) for edge in page["edges"]]
            info = page["pageInfo"]
            assert info["hasPreviousPage"] is (page_number > 0)
            assert info["hasNextPage"] is (page_number < 2)
            assert info["startCursor"] == page["edges"][0]["cursor"]
            after = info["endCursor"]
        assert seen == [START + minute * MINUTE for minute in range(5)]
        last = (await ask(http, f"{base}, first: 2"))["data"]["bars"]["edges"]
        assert [int(edge["node"]["startNs"]) for edge in last] == seen[-2:]
        assert (await ask(http, 'symbol: "NIX", interval: "1m"')) == {"data": {"bars": None}}


async def test_graphql_connection_of_bars_that_begin_at_the_same_time(
    aggregator: FakeAggregator,
) -> None:
    aggregator.bars.intervals = ("100t",)
    for number in range(5):
        aggregator.bars.publish("AAPL", "100t", START, state=FINAL, end=START, number=number)
    async with http_to_gateway(aggregator) as http:
        numbers, after = [], ""
        while True:
            asked = f'symbol: "AAPL", interval: "100t", from: "0", first: 2, after: "{after}"'
            selection = "edges { node { number } } pageInfo { hasNextPage endCursor }"
            page = (await ask(http, asked, selection))["data"]["bars"]
            numbers += [edge["node"]["number"] for edge in page["edges"]]
            after = page["pageInfo"]["endCursor"]
            if not page["pageInfo"]["hasNextPage"]:
                break
        assert numbers == list(range(5))


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ('symbol: "AAPL", interval: "7m"', "interval"),
        ('symbol: "AAPL", interval: "15m"', "interval"),
        ('symbol: "AAPL", interval: "1m", from: "5"', "from"),
        ('symbol: "AAPL", interval: "1m", first: 0', "first"),
        ('symbol: "AAPL", interval: "1m", first: 1001', "first"),
        ('symbol: "AAPL", interval: "1m", after: "x"', "after"),
        ('symbol: "A,B", interval: "1m"', "symbol"),
    ],
)
async def test_graphql_connection_refused(
    aggregator: FakeAggregator, arguments: str, field: str
) -> None:
    async with http_to_gateway(aggregator) as http:
        (error,) = (await ask(http, arguments))["errors"]
        assert error["extensions"]["code"] == "BAD_USER_INPUT"
        assert error["extensions"]["errors"][0]["field"] == field


async def test_graphql_invents_no_bars(aggregator: FakeAggregator) -> None:
    async with http_to_gateway(aggregator, retry_attempts=1) as http:
        await aggregator.go_down()
        answer = await ask(http, 'symbol: "AAPL", interval: "1m"')
        assert answer["data"] == {"bars": None}
        assert answer["errors"][0]["extensions"]["code"] == "SERVICE_UNAVAILABLE"
