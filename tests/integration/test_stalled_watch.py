"""A gateway that stops reading: states join what waits at the aggregator, and none is old."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection

from aggregator.app import Aggregator
from gateway.hub.upstream import BUFFERED_STATES, Upstream
from gateway.settings import GatewaySettings
from marketdata.channel import client_options
from marketdata.wire import market_data_pb2 as wire
from tests.doubles.pipeline import TIMEOUT_S, open_stub, run_aggregator
from tests.integration.gateway.streams import (
    Producer,
    eventually,
    open_websocket,
    receive_until,
    run_gateway,
    send,
)

SYMBOLS = [f"S{number:03}" for number in range(500)]
WINDOW_BYTES: int = GatewaySettings.model_fields["aggregator_window_bytes"].default
# An Aggregate of these symbols has at least so many bytes.
STATE_BYTES = 60


async def test_a_reader_that_stalls_gets_few_old_states_and_then_the_newest() -> None:
    options = client_options(window_bytes=WINDOW_BYTES)
    async with (
        run_aggregator() as aggregator,
        open_stub(aggregator.port, options) as stub,
        Producer(aggregator.port).stream() as push,
    ):
        call = stub.Watch()
        await call.write(wire.WatchRequest(buffer=BUFFERED_STATES, buffer_all=False, all=True))
        await call.initial_metadata()
        await push(*SYMBOLS)
        watcher = next(iter(aggregator.watchers._open))
        for _ in range(200):
            await push(*SYMBOLS)
            assert watcher.waiting <= len(SYMBOLS)
        newest: dict[str, int] = {}
        old = 0
        async with asyncio.timeout(TIMEOUT_S):
            while len(newest) < len(SYMBOLS) or set(newest.values()) != {201}:
                batch = await call.read()
                assert isinstance(batch, wire.UpdateBatch)
                for state in batch.updates:
                    assert state.sequence > newest.get(state.symbol, 0)
                    newest[state.symbol] = state.sequence
                    old += state.sequence != 201
        # A message that waited when the reader stalled, and one that was on its way.
        assert old <= 2 * len(SYMBOLS) + WINDOW_BYTES // STATE_BYTES
        call.cancel()


@contextlib.asynccontextmanager
async def sleeping(monkeypatch: Any) -> AsyncIterator[asyncio.Event]:
    """Give what lets upstreams read while it is set."""
    awake = asyncio.Event()
    awake.set()
    read = Upstream._read

    async def read_when_awake(self: Upstream, call: Any) -> Any:
        await awake.wait()
        return await read(self, call)

    monkeypatch.setattr(Upstream, "_read", read_when_awake)
    yield awake


async def subscribe(client: ClientConnection, policy: str, symbols: list[str]) -> None:
    await send(client, type="subscribe", id=policy, policy=policy, symbols=symbols)
    await receive_until(client, "subscribed")


async def follow(client: ClientConnection, until: dict[str, int]) -> list[Any]:
    """Take updates until there are these sequences."""
    updates: list[Any] = []
    newest: dict[str, int] = {}
    async with asyncio.timeout(TIMEOUT_S):
        while any(newest.get(symbol) != last for symbol, last in until.items()):
            update = orjson.loads(await client.recv())
            if update["type"] == "update":
                updates.append(update)
                newest[update["data"]["symbol"]] = int(update["sequence"])
    return updates


async def test_while_the_gateway_sleeps_only_what_is_buffered_is_kept_state_by_state(
    monkeypatch: Any,
) -> None:
    async with (
        sleeping(monkeypatch) as awake,
        run_aggregator() as aggregator,
        run_gateway(f"127.0.0.1:{aggregator.port}", buffer_bytes=2**24) as gateway,
        open_websocket(gateway, "/api/v1/stream") as buffering,
        open_websocket(gateway, "/api/v1/stream") as conflating,
        Producer(aggregator.port).stream() as push,
    ):
        await subscribe(buffering, "buffer", SYMBOLS[:2])
        await subscribe(conflating, "conflate", SYMBOLS)
        watcher = await followed(aggregator, len(SYMBOLS))
        awake.clear()
        for _ in range(200):
            await push(*SYMBOLS)
            assert watcher.waiting <= len(SYMBOLS) + 2 * 200
        awake.set()
        updates = await follow(buffering, dict.fromkeys(SYMBOLS[:2], 200))
        for symbol in SYMBOLS[:2]:
            own = [each for each in updates if each["data"]["symbol"] == symbol]
            assert [int(each["sequence"]) for each in own] == list(range(1, 201))
            assert {each["recovered"] for each in own} == {None}
        last: dict[str, int] = {}
        for each in await follow(conflating, dict.fromkeys(SYMBOLS, 200)):
            symbol, sequence = each["data"]["symbol"], int(each["sequence"])
            assert each["recovered"] is None
            assert (
                sequence
                == last.get(symbol, sequence - 1 - each["conflated"]) + 1 + (each["conflated"])
            )
            last[symbol] = sequence


async def test_more_than_the_bound_is_a_hole_that_readers_are_told(monkeypatch: Any) -> None:
    monkeypatch.setattr("gateway.hub.upstream.BUFFERED_STATES", 50)
    async with (
        sleeping(monkeypatch) as awake,
        run_aggregator() as aggregator,
        run_gateway(f"127.0.0.1:{aggregator.port}") as gateway,
        open_websocket(gateway, "/api/v1/stream") as client,
        Producer(aggregator.port).stream() as push,
    ):
        await subscribe(client, "buffer", ["A"])
        watcher = await followed(aggregator, 1)
        await push("A")
        await receive_until(client, "update")
        awake.clear()
        for _ in range(1_000):
            await push("A")
            assert watcher.waiting <= 50
        awake.set()
        updates = await follow(client, {"A": 1_001})
        last = 1
        holes = 0
        for each in updates:
            is_hole = int(each["sequence"]) != last + 1
            assert each["recovered"] is (False if is_hole else None)
            holes += is_hole
            last = int(each["sequence"])
        assert holes > 0


async def followed(aggregator: Aggregator, symbols: int) -> Any:
    """Wait until the gateway follows so many symbols; return its watcher."""
    await eventually(lambda: aggregator.watchers.watched_symbols == symbols)
    (watcher,) = aggregator.watchers._open
    return watcher
