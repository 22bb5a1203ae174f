"""Bars as clients others wrote get them: history, then live, without a hole or a repeat."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from marketdata.wire import market_data_pb2 as wire
from tests.conformance.node_tools import need_node, node_script
from tests.doubles.bar_endpoints import (
    GRAPHQL_BARS,
    BarFollower,
    Endpoint,
    Event,
    GraphQLEvents,
    stomp_event,
)
from tests.doubles.pipeline import make_tick
from tests.doubles.processes import open_http
from tests.integration.gateway.live import Feed, feeding, gateway_to, until_status

SYMBOLS = ("AAPL", "MSFT")
SECOND_NS = 10**9
MINUTE_NS = 60 * SECOND_NS
# A Thursday, 08:20 UTC.
START_NS = 1_735_201_200 * SECOND_NS
SINCE = "2024-12-26T08:20:00Z"
# Minutes before anybody comes: of a run of the aggregator that has ended, and of the present one.
STORED, REMEMBERED = 40, 20
# Minutes that come when all are there.
LATER = 15
# Between a market's minutes here. Without it thousands would pass while the clients start.
PACE_S = 0.01


@pytest.fixture(scope="module", autouse=True)
def node() -> None:
    need_node()


def stompjs(transport: str) -> Endpoint:
    async def follow(
        address: str, symbols: Sequence[str], interval: str, since: str
    ) -> AsyncGenerator[Event | None, None]:
        topic = f"/topic/bars/{interval}/{','.join(symbols)}"
        async with node_script("stomp_bars.mjs", address, transport, topic, since) as script:
            assert await script.next() is None
            yield None
            while True:
                message = await script.next()
                event = stomp_event(interval, message["headers"], message["body"])
                if event is not None:
                    yield event

    return follow


async def graphql_ws(
    address: str, symbols: Sequence[str], interval: str, since: str
) -> AsyncGenerator[Event | None, None]:
    variables = json.dumps({"symbols": symbols, "interval": interval, "since": since})
    url = f"ws://{address}/graphql"
    async with node_script("graphql_bars.mjs", url, GRAPHQL_BARS, variables) as script:
        assert await script.next() is None
        yield None
        events = GraphQLEvents()
        while True:
            if (event := events.take(await script.next())) is not None:
                yield event


def minute_of(number: int) -> list[wire.Tick]:
    """Return what is traded in a minute; every third one revises the minute before."""
    begin = START_NS + number * MINUTE_NS
    times = [begin, begin + 20 * SECOND_NS, begin + MINUTE_NS - 1]
    if number and number % 3 == 0:
        times.append(begin - 30 * SECOND_NS)
    return [
        make_tick(symbol, price=100.0 + number % 7 + place / 4, volume=place + 1, ts_ns=ts_ns)
        for symbol in SYMBOLS
        for place, ts_ns in enumerate(times)
    ]


async def read_minutes(http: httpx.AsyncClient) -> list[dict[str, Any]]:
    bars: list[dict[str, Any]] = []
    for symbol in SYMBOLS:
        answer = await http.get(
            f"/api/v1/marketdata/{symbol}/bars",
            params={"interval": "1m", "from": SINCE, "limit": "10000", "include_partial": "true"},
        )
        bars += answer.raise_for_status().json()["bars"]
    return bars


@contextlib.asynccontextmanager
async def market(path: Path) -> AsyncIterator[tuple[str, Feed]]:
    """Run a market whose first minutes are in the store alone; give the gateway and the feed."""
    settings: dict[str, Any] = {"store": f"sqlite:///{path}/bars.db", "bars": "1m,1d"}
    async with feeding(**settings) as (_, feed):
        for number in range(STORED):
            await feed.push(*minute_of(number))
    async with feeding(**settings) as (port, feed), gateway_to(port) as address:
        await until_status(address, "live")
        for number in range(STORED, STORED + REMEMBERED):
            await feed.push(*minute_of(number))
        yield address, feed


async def test_history_and_live_are_one_for_clients_others_wrote(tmp_path: Path) -> None:
    endpoints = {
        "stompjs": stompjs("plain"),
        "stompjs over SockJS": stompjs("xhr-streaming"),
        "graphql-ws": graphql_ws,
    }
    async with market(tmp_path) as (address, feed), asyncio.TaskGroup() as tasks:
        followers = {
            name: BarFollower(endpoint, SYMBOLS, "1m", name=name)
            for name, endpoint in endpoints.items()
        }
        joining = asyncio.gather(
            *(follower.join(tasks, address, since=SINCE) for follower in followers.values())
        )
        minutes = STORED + REMEMBERED
        # They come while it goes on.
        while not joining.done():
            await feed.push(*minute_of(minutes))
            minutes += 1
            await asyncio.sleep(PACE_S)
        await joining
        for _ in range(LATER):
            await feed.push(*minute_of(minutes))
            minutes += 1
        async with open_http(int(address.rpartition(":")[2])) as http:
            bars = await read_minutes(http)
        assert len(bars) == len(SYMBOLS) * minutes
        assert {bar["state"] for bar in bars} == {"partial", "final", "revised"}
        last = START_NS + (minutes - 1) * MINUTE_NS
        for name, follower in followers.items():
            await follower.wait_for(bars)
            assert len(follower.bars) == len(bars), name
            assert follower.not_recovered == []
            await follower.wait_for_end(last)
            # Every minute since it came, each once.
            assert follower.ends == list(range(follower.ends[0], last + 1, MINUTE_NS)), name
            assert len(follower.ends) >= LATER
            follower.check_quiet(bars)
            follower.leave()
