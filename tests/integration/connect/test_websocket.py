"""Trades of any WebSocket, by the paths of its fields."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve

from connect.errors import SourceFailed
from connect.websocket import WebSocketSource
from tests.doubles.connecting import connecting
from tests.doubles.session_server import SessionServer, run_session_server

MAP = "symbol=/product,price=p,size=q,time=t,id=i"


@pytest.fixture
async def server() -> AsyncIterator[SessionServer]:
    async with run_session_server() as running:
        yield running


class Venue:
    """A server that somebody wrote."""

    def __init__(self) -> None:
        self.said: list[str | bytes] = []
        self.sockets: asyncio.Queue[ServerConnection] = asyncio.Queue()
        self.server: Server

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/feed"

    async def handle(self, socket: ServerConnection) -> None:
        self.said.append(await socket.recv())
        await self.sockets.put(socket)
        await socket.wait_closed()


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    venue = Venue()
    async with serve(venue.handle, "127.0.0.1", 0) as server:
        venue.server = server
        yield venue


async def test_trades_are_found_by_their_paths(server: SessionServer, venue: Venue) -> None:
    make = partial(WebSocketSource, venue.url)
    options: dict[str, Any] = {"map": MAP, "each": "trades", "subscribe": '{"op":"subscribe"}'}
    async with connecting(make, server, **options) as run:
        socket = await venue.sockets.get()
        await socket.send('{"event":"welcome"}')
        await socket.send(
            '{"product":"X-1","trades":[{"p":1.10,"q":0.12345678901234567,"t":1790000000,"i":1},'
            '{"p":2,"q":3,"t":"2026-09-21T14:13:20.5Z","i":"b"},{"p":"?","q":3,"t":1790000000}]}'
        )
        await socket.send("not JSON")
        await run.until_sent(2)
        await run.until_said("dropped message 2: price '?' is not a number")
        assert venue.said == ['{"op":"subscribe"}']
        # Lost, and connected again.
        await socket.close()
        await run.until_said("lost")
        socket = await venue.sockets.get()
        await socket.send('{"product":"X-1","trades":[{"p":3,"q":3,"t":1790000000,"i":3}]}')
        await run.until_sent(3)
    first, second, third = run.ticks
    assert (first.volume, first.volume_decimals) == (12_345_678_901_234_567, 17)
    assert (first.symbol, first.price, first.trade_id) == ("X-1", 1.1, b"1")
    assert (second.exchange_timestamp, second.trade_id) == (1_790_000_000_500_000_000, b"b")
    assert third.price == 3.0


async def test_an_address_that_is_none_ends_it(server: SessionServer) -> None:
    with pytest.raises(SourceFailed):
        async with connecting(partial(WebSocketSource, "http//x"), server) as run:
            await asyncio.wait([run.running])
