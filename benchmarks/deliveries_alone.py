"""Measure what one delivery costs in the gateway when it comes alone, by CPU time.

The gateway runs in this process, and a stream of ours stands in for the aggregator. Between two
updates other work evicts the caches, as it does in a market that trickles. A ``send`` of the same
size that is woken in the same way is the baseline.
"""

from __future__ import annotations

import asyncio
import json
import socket
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any, cast

import grpc
import numpy as np

from benchmarks.clients import Client
from benchmarks.harness import WrongResult
from benchmarks.report import Line, Outcome
from gateway.app import build_app, build_hub, build_sessions
from gateway.backend.client import AggregatorClient
from gateway.backend.together import ReadsTogether
from gateway.clients.capacity import Capacity
from gateway.clients.direct import this_turn
from gateway.clients.farewell import Returns
from gateway.hub.upstream import Upstream, open_watch
from gateway.server import Server, open_listener
from gateway.settings import GatewaySettings
from marketdata.warm import load_kernels
from marketdata.wire.market_data_pb2 import COVERAGE_FULL, Aggregate, UpdateBatch
from marketdata.wire.market_data_pb2_grpc import MarketDataServiceStub

SYMBOLS = [f"S{number}" for number in range(5)]
EPOCH = 1_766_000_000_000_000_000
# The turns of the event loop that the longest way takes.
TURNS = 8
EVICTED_BYTES = 8 * 1024 * 1024
# A frame of STOMP.
SENT_BYTES = 520


class Feed:
    """A channel and a call to the aggregator, whose messages are given by hand."""

    def __init__(self) -> None:
        self._read: Callable[[bytes], Any] = bytes
        self._waiting: asyncio.Future[bytes] | None = None

    def stream_stream(self, _path: str, **options: Any) -> Callable[..., Feed]:
        """Return how the one call is opened."""
        self._read = options["response_deserializer"] or bytes
        return lambda **_options: self

    async def wait_for_connection(self) -> None:
        """Be connected."""

    def done(self) -> bool:
        """Return that it goes on."""
        return False

    async def code(self) -> grpc.StatusCode:
        """Return how it ended."""
        return grpc.StatusCode.CANCELLED

    async def details(self) -> str:
        """Return why."""
        return ""

    async def initial_metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the opening."""
        return (("epoch", str(EPOCH)), ("intervals", "1s"))

    async def write(self, request: Any) -> None:
        """Take a request."""

    async def read(self) -> Any:
        """Wait for the next message."""
        self._waiting = asyncio.get_running_loop().create_future()
        return self._read(await self._waiting)

    def cancel(self) -> None:
        """End."""

    def give(self, data: bytes) -> None:
        """Let the reader have a message."""
        if self._waiting is None:
            raise WrongResult("nobody reads the feed")
        self._waiting.set_result(data)


@asynccontextmanager
async def running_gateway(feed: Feed) -> AsyncIterator[int]:
    """Run a gateway that is fed by ``feed``; give its port."""
    settings = GatewaySettings(host="127.0.0.1", port=0, aggregator="127.0.0.1:1")
    listener = open_listener(settings.host, settings.port)
    async with (
        grpc.aio.insecure_channel(settings.aggregator) as channel,
        asyncio.TaskGroup() as tasks,
    ):
        hub = build_hub(settings)
        watch = open_watch(cast("grpc.aio.Channel", feed))
        upstream = Upstream(watch, hub, random=Random(1), turn=this_turn())
        returns = Returns(settings.reconnect_spread_s, Random(1).uniform)
        capacity = Capacity(10, rate=0, burst=10, returns=returns)
        client = AggregatorClient(MarketDataServiceStub(channel), settings, clock=time.monotonic)
        sessions = build_sessions(settings, hub, client, returns)
        app = build_app(
            *(settings, channel, client, sessions, capacity),
            reads=ReadsTogether(client, tasks),
            endpoints=[],
            tasks=tasks,
        )
        server = Server(app, settings, lambda: None)
        feeding = tasks.create_task(upstream.run())
        serving = tasks.create_task(server.serve(sockets=[listener]))
        await server.accepting.wait()
        try:
            yield listener.getsockname()[1]
        finally:
            feeding.cancel()
            server.stop(0.1)
            server.force_exit = True
            await serving
            listener.close()


class LiveClient(Client):
    """One client of one of the live endpoints."""

    def __init__(self, port: int, endpoint: str) -> None:
        super().__init__(port)
        self._endpoint = endpoint

    def begin(self) -> bytes:
        """Subscribe."""
        symbols = ",".join(SYMBOLS)
        match self._endpoint:
            case "stomp":
                return self.subscribe_stomp(SYMBOLS, "conflate")
            case "sse":
                self._get(f"/api/v1/stream?symbols={symbols}", "")
                return self.read_until(b"event: status")
            case "plain":
                self._upgrade(f"/ws/marketdata?symbol={SYMBOLS[0]}")
            case "stream":
                self._upgrade(f"/api/v1/stream?symbols={symbols}", end=b'"subscribed"')
            case "graphql":
                self._upgrade("/graphql", "Sec-WebSocket-Protocol: graphql-transport-ws\r\n")
                self.send('{"type":"connection_init"}')
                self.read_until(b"connection_ack")
                query = "subscription {marketData(symbols: [%s]){symbol close volume sequence}}"
                payload = {"query": query % json.dumps(SYMBOLS[0])}
                self.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
        return b""

    def drain(self) -> int:
        """Return how many bytes have come."""
        try:
            return len(self.socket.recv(1 << 20))
        except BlockingIOError:
            return 0

    def _get(self, path: str, headers: str) -> None:
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode())

    def _upgrade(self, path: str, headers: str = "", end: bytes = b"\r\n\r\n") -> None:
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        self._get(path, f"Upgrade: websocket\r\nConnection: Upgrade\r\n{key}{headers}")
        self.read_until(end)


ENDPOINTS = ("stomp", "plain", "stream", "sse", "graphql")


class Updates:
    """Messages of one state each."""

    def __init__(self, symbols: list[str]) -> None:
        self._symbols = symbols
        self._count = 0

    def next(self) -> bytes:
        """Return the next message."""
        self._count += 1
        index = self._count % len(self._symbols)
        state = Aggregate(
            symbol=self._symbols[index],
            open=150.25,
            high=152.5,
            low=149.75,
            close=150 + self._count % 100 / 100,
            volume=100 * self._count,
            timestamp=EPOCH + self._count * 1_000_003,
            trades=self._count,
            vwap=150.1 + self._count / 7e6,
            session_start=EPOCH,
            sequence=1 + self._count // len(self._symbols),
            epoch=EPOCH,
            coverage=COVERAGE_FULL,
        )
        return UpdateBatch(updates=[state], position=self._count).SerializeToString()


async def _cost_us(give: Callable[[], None], check: Callable[[], None], *, cold: bool) -> float:
    # The CPU from a message to the end of all that it caused.
    other_work = np.zeros(EVICTED_BYTES, np.uint8)
    times = []
    for _ in range(600 if cold else 2000):
        if cold:
            other_work += 1
        began = time.thread_time_ns()
        give()
        for _ in range(TURNS):
            await asyncio.sleep(0)
        times.append(time.thread_time_ns() - began)
        check()
    return statistics.median(times) / 1000


async def measure_endpoint(endpoint: str) -> dict[str, float]:
    """Return the cost of one delivery, with warm and with cold caches."""
    feed = Feed()
    async with running_gateway(feed) as port:
        client = await asyncio.to_thread(LiveClient, port, endpoint)
        await asyncio.to_thread(client.begin)
        client.socket.setblocking(False)
        updates = Updates(SYMBOLS[:1] if endpoint in {"plain", "graphql"} else SYMBOLS)

        def check() -> None:
            if client.drain() < 50:
                raise WrongResult(f"nothing came to {endpoint}")

        await asyncio.sleep(0.05)
        client.drain()
        found = {}
        for name, cold in (("warm", False), ("cold", True)):
            found[name] = await _cost_us(lambda: feed.give(updates.next()), check, cold=cold)
        client.socket.close()
        await asyncio.sleep(0.01)
    return found


async def measure_send() -> dict[str, float]:
    """Return the cost of a ``send`` by a task that is woken as the gateway's is."""
    loop = asyncio.get_running_loop()
    listener = open_listener("127.0.0.1", 0)
    ours = socket.create_connection(listener.getsockname())
    theirs, _ = listener.accept()
    theirs.setblocking(False)
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    feed, data = Feed(), bytes(SENT_BYTES)

    async def forward() -> None:
        while True:
            await feed.read()
            transport.write(data)

    def check() -> None:
        theirs.recv(4096)

    task = asyncio.create_task(forward())
    await asyncio.sleep(0)
    updates = Updates(SYMBOLS)
    found = {}
    for name, cold in (("warm", False), ("cold", True)):
        found[name] = await _cost_us(lambda: feed.give(updates.next()), check, cold=cold)
    task.cancel()
    transport.abort()
    theirs.close()
    listener.close()
    return found


async def measure() -> Outcome:
    """Measure a delivery at each endpoint, and the ``send`` alone."""
    load_kernels()
    found = {"send": await measure_send()}
    for endpoint in ENDPOINTS:
        found[endpoint] = await measure_endpoint(endpoint)
    lines = []
    for endpoint in ENDPOINTS:
        for name in ("cold", "warm"):
            base = found["send"][name]
            lines.append(
                Line(
                    f"alone/{endpoint}/{name}",
                    f"a delivery that comes alone, {endpoint}, {name} caches",
                    found[endpoint][name],
                    "us",
                    base,
                    "the same send",
                    note=f"{found[endpoint][name] - base:.1f} us beside the send",
                )
            )
    return Outcome(lines, found)
