"""Clients of every live endpoint during a replay of a real day, through real processes."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import NamedTuple

import httpx
import pytest

from tests.doubles import endpoints
from tests.doubles.endpoints import Endpoint
from tests.doubles.follower import Follower, State
from tests.doubles.ports import free_port
from tests.doubles.processes import Service, run_gateway, run_service
from tests.doubles.trades import REAL_TRADES, needs_real_trades
from tests.integration.fakeclient.recorder import Fakeclient, started

pytestmark = needs_real_trades

TIMEOUT_S = 60
LIST_ENDPOINTS: dict[str, Endpoint] = {
    "STOMP": endpoints.stomp,
    "SockJS": endpoints.sockjs,
    "/api/v1/stream, WebSocket": endpoints.stream_websocket,
    "/api/v1/stream, SSE": endpoints.sse,
    "GraphQL": endpoints.graphql,
}
SYMBOLS = ("SPY", "BAC", "AIG", "IBM")
ROWS = 388_417
# 16 hours in 16 s. Most trades are in 6.5 of them, and so are the cuts.
SPEED = 3600
CUTS = 100
# The last cut comes well before the end.
TRADES_PER_CUT = ROWS * 9 // 10 // CUTS


class Pipeline(NamedTuple):
    """The services, and where to find them."""

    aggregators: list[Service]
    aggregator_port: int
    ingest: Service
    ingest_port: int
    gateway_process: Service
    http: httpx.AsyncClient
    processes: contextlib.AsyncExitStack

    @property
    def gateway(self) -> str:
        """The address of the gateway."""
        return self.http.base_url.netloc.decode()

    async def kill_aggregator(self) -> None:
        """Let the aggregator go without a word, and wait until the gateway says so."""
        assert await self.aggregators[-1].stop(signal.SIGKILL) == -signal.SIGKILL
        await self.gateway_process.wait_for_log("feed_gone")

    async def start_aggregator(self) -> None:
        """Let one come that knows nothing, on the port of the one before."""
        env = {"AGGREGATOR_PORT": str(self.aggregator_port)}
        service = await self.processes.enter_async_context(run_service("aggregator", env))
        await service.wait_for_port()
        self.aggregators.append(service)

    async def rest(self) -> dict[str, State]:
        """Return what REST says of each symbol."""
        answers: dict[str, State] = {}
        for symbol in SYMBOLS:
            answer = await self.http.get(f"/api/v1/marketdata/{symbol}")
            assert (answer.status_code, answer.headers["x-data-status"]) == (200, "live")
            answers[symbol] = answer.json()
        return answers

    async def end_of(self, replay: Fakeclient) -> dict[str, State]:
        """Wait for the end of the replay, and return what REST says then."""
        result = await replay.end()
        assert (result.code, result.sent) == (0, ROWS)
        # Ingest ends when the aggregator has everything.
        assert await self.ingest.stop() == 0
        assert self.ingest.logs[-1]["lost"] == 0
        return await self.rest()


@contextlib.asynccontextmanager
async def run_pipeline() -> AsyncIterator[Pipeline]:
    port = free_port()
    env = {
        "INGEST_PORT": "0",
        "INGEST_AGGREGATOR": f"127.0.0.1:{port}",
        # Little is on its way at once, so the replay waits while the aggregator is away.
        "INGEST_RING_BATCHES": "20",
    }
    async with (
        contextlib.AsyncExitStack() as processes,
        run_gateway(port) as (gateway, http),
        run_service("ingest", env) as ingest,
    ):
        pipeline = Pipeline(
            [], port, ingest, await ingest.wait_for_port(), gateway, http, processes
        )
        await pipeline.start_aggregator()
        await gateway.wait_for_log("feed_connected")
        await ingest.wait_for_log("aggregator_connected")
        yield pipeline


@contextlib.asynccontextmanager
async def replaying(pipeline: Pipeline, speed: object) -> AsyncIterator[Fakeclient]:
    server = f"127.0.0.1:{pipeline.ingest_port}"
    async with started(
        "replay", REAL_TRADES, "--speed", speed, "--server", server, "--connections", 1
    ) as program:
        yield program


@contextlib.asynccontextmanager
async def reading(follower: Follower, address: str) -> AsyncIterator[None]:
    """Let ``follower`` read beside the body."""
    async with follower.connected(address) as client, asyncio.TaskGroup() as tasks:
        task = tasks.create_task(follower.read_on(client))
        yield
        task.cancel()


def is_due(client: Follower, number: int) -> bool:
    """Say whether cut ``number`` may come: ``client`` has a state of each symbol, of one epoch."""
    complete = len(client.states) == len(SYMBOLS) and len(client.epochs) == 1
    return complete and client.trades >= number * TRADES_PER_CUT


async def cut_often(
    pipeline: Pipeline, replay: Fakeclient, client: Follower, witness: Follower, kills: bool
) -> None:
    """Cut ``client`` a hundred times, each time until ``witness`` has seen what it missed.

    With ``kills`` the aggregator is killed three times: while the client is there; while it is
    away; and while it is away, but comes back before the aggregator.
    """
    there, away, back_first = (CUTS // 4, CUTS // 2, CUTS * 3 // 4) if kills else (0, 0, 0)
    for number in range(1, CUTS + 1):
        async with client.connected(pipeline.gateway) as connection:
            if number == there:
                await pipeline.kill_aggregator()
            if number in {there, back_first}:
                await pipeline.start_aggregator()
                snapshots = 1 if number == there else 3
                await client.read(connection, partial(has_snapshots, client, snapshots))
            await client.read(connection, partial(is_due, client, number))
            connection.websocket.transport.abort()
        # So each resumption has something to recover, and the replay goes on.
        await witness.wait_until(lambda: witness.is_ahead_of(client))
        assert replay.process.returncode is None
        if number == away:
            await pipeline.kill_aggregator()
            await pipeline.start_aggregator()
            await witness.wait_until(partial(has_snapshots, witness, 2))
        elif number == back_first - 1:
            await pipeline.kill_aggregator()


def has_snapshots(follower: Follower, count: int) -> bool:
    """Say whether ``count`` new epochs were begun with every symbol."""
    return len(follower.snapshots) == count * len(SYMBOLS)


async def test_a_client_cut_a_hundred_times_misses_nothing_and_gets_nothing_twice() -> None:
    async with run_pipeline() as pipeline:
        client, witness = Follower(SYMBOLS), Follower(SYMBOLS)
        async with (
            reading(witness, pipeline.gateway),
            replaying(pipeline, SPEED) as replay,
        ):
            await cut_often(pipeline, replay, client, witness, kills=False)
            assert client.trades < ROWS
            async with reading(client, pipeline.gateway):
                states = await pipeline.end_of(replay)
                await client.wait_until(lambda: client.states == states)
                await witness.wait_until(lambda: witness.states == states)
        assert client.recovered == CUTS
        assert client.missed >= CUTS
        assert client.snapshots == client.statuses == []
        assert client.trades == ROWS
        assert client.seen == witness.seen


async def test_after_a_kill_of_the_aggregator_a_cut_client_gets_a_snapshot_and_goes_on() -> None:
    async with run_pipeline() as pipeline:
        client, witness = Follower(SYMBOLS), Follower(SYMBOLS)
        async with (
            reading(witness, pipeline.gateway),
            replaying(pipeline, SPEED) as replay,
        ):
            await cut_often(pipeline, replay, client, witness, kills=True)
            async with reading(client, pipeline.gateway):
                states = await pipeline.end_of(replay)
                await client.wait_until(lambda: client.states == states)
                await witness.wait_until(lambda: witness.states == states)
        # One snapshot of each symbol after each kill. Only the resumption after a kill while the
        # client was away, with an aggregator that came back first, recovered nothing.
        assert sorted(client.snapshots) == sorted(witness.snapshots) == sorted(SYMBOLS * 3)
        assert client.recovered == CUTS - 1
        assert client.seen.items() <= witness.seen.items()
        assert client.statuses == ["stale", "live"] * 2
        assert witness.statuses == ["stale", "live"] * 3


class Visitor:
    """Somebody at one endpoint, who keeps the newest state of each symbol."""

    def __init__(self) -> None:
        self.subscribed = asyncio.Event()
        self.states: dict[str, State] = {}
        self.received = 0
        self._changed = asyncio.Event()

    async def follow(self, endpoint: Endpoint, address: str, symbols: Sequence[str]) -> None:
        """Take states until cancelled; none may be older than the one before."""
        async with aclosing(endpoint(address, symbols)) as states:
            async for state in states:
                if state is None:
                    self.subscribed.set()
                    continue
                before = self.states.get(state["symbol"])
                assert before is None or int(before["sequence"]) < int(state["sequence"])
                self.states[state["symbol"]] = state
                self.received += 1
                self._changed.set()
        raise AssertionError("the server ended the stream")

    async def until(self, states: dict[str, State]) -> None:
        """Wait until the newest state of each symbol is that in ``states``, to the last field."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                while self.states != states:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            # Shows which field differs.
            assert self.states == states


# At full speed many states are conflated, at the other few.
@pytest.mark.parametrize("speed", ["max", 2 * SPEED])
async def test_every_endpoint_ends_with_the_states_that_rest_has(speed: object) -> None:
    async with run_pipeline() as pipeline, asyncio.TaskGroup() as tasks:
        visitors: dict[str, tuple[Visitor, Sequence[str]]] = {}
        following: list[asyncio.Task[None]] = []

        async def visit(
            name: str, endpoint: Endpoint, address: str, symbols: Sequence[str]
        ) -> None:
            visitor = Visitor()
            visitors[name] = visitor, symbols
            following.append(tasks.create_task(visitor.follow(endpoint, address, symbols)))
            await asyncio.wait_for(visitor.subscribed.wait(), TIMEOUT_S)

        for name, endpoint in LIST_ENDPOINTS.items():
            await visit(name, endpoint, pipeline.gateway, SYMBOLS)
        for symbol in SYMBOLS:
            await visit(
                f"/ws/marketdata {symbol}", endpoints.plain_websocket, pipeline.gateway, [symbol]
            )
        await visit("gRPC", endpoints.grpc_watch, f"127.0.0.1:{pipeline.aggregator_port}", SYMBOLS)

        async with replaying(pipeline, speed) as replay:
            states = await pipeline.end_of(replay)
        for visitor, symbols in visitors.values():
            await visitor.until({symbol: states[symbol] for symbol in symbols})
        # They were there during the replay: none was only told the end.
        assert {
            name
            for name, (visitor, symbols) in visitors.items()
            if visitor.received < 10 * len(symbols)
        } == set()
        for task in following:
            task.cancel()
