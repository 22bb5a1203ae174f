"""A real aggregator, a gateway whose inside can be seen, and clients that stop reading."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import orjson
import websockets
from websockets.asyncio.client import ClientConnection

from aggregator.app import Aggregator
from gateway import app
from gateway.hub.hub import Hub
from gateway.live.session import Sessions
from gateway.settings import GatewaySettings
from gateway.stream.client import StreamClient
from marketdata.wire import market_data_pb2 as wire
from tests.doubles.pipeline import TIMEOUT_S, make_tick, open_stub, run_aggregator

# Of a client that stops reading; Linux doubles it.
SMALL_BUFFER = 4096


@dataclass
class Gateway:
    """A running gateway."""

    address: str
    sessions: Sessions

    @property
    def hub(self) -> Hub:
        return self.sessions.hub

    @property
    def streams(self) -> list[StreamClient]:
        """The sessions of WebSockets, SSE and data channels."""
        return [session for session in self.sessions if isinstance(session, StreamClient)]

    async def wait_until_left(self) -> None:
        """Wait until no client is there any more, and check that it left nothing behind."""
        await eventually(lambda: not self.streams)
        assert self.hub.subscriptions == 0


@contextlib.asynccontextmanager
async def run_gateway(aggregator: str, **settings: Any) -> AsyncIterator[Gateway]:
    """Run a gateway for the time of the context; at its end no task of it is left."""
    values = {"port": 0, "aggregator": aggregator, "rate_limit": 0, **settings}
    seen: list[Sessions] = []
    build_sessions = app.build_sessions

    def build_and_note(*args: Any) -> Sessions:
        seen.append(build_sessions(*args))
        return seen[-1]

    with patch.object(app, "build_sessions", build_and_note):
        async with app.running_gateway(GatewaySettings.model_validate(values)) as address:
            yield Gateway(address, *seen)
    assert not tasks_of("gateway", "uvicorn")


def tasks_of(*packages: str) -> list[asyncio.Task[Any]]:
    """Return the tasks whose coroutine is of one of ``packages``."""
    return [
        task
        for task in asyncio.all_tasks()
        if (frame := getattr(task.get_coro(), "cr_frame", None)) is not None
        and frame.f_globals.get("__name__", "").partition(".")[0] in packages
    ]


class Producer:
    """Publishes ticks, each batch one state of its symbols."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.price = 100.0

    async def publish(self, *symbols: str) -> None:
        """Publish one state of each symbol, and wait until the aggregator has it."""
        async with self.stream() as push:
            await push(*symbols)

    @contextlib.asynccontextmanager
    async def stream(self) -> AsyncIterator[Callable[..., Awaitable[None]]]:
        """Give what publishes, over one stream."""
        async with open_stub(self.port) as stub:
            call = stub.PublishTicks()

            async def push(*symbols: str) -> None:
                self.price += 1
                ticks = [make_tick(symbol, self.price) for symbol in symbols]
                await call.write(wire.TickBatch(ticks=ticks))
                await call.read()

            yield push
            await call.done_writing()


@contextlib.asynccontextmanager
async def run_feed(producer: Producer, *symbols: str) -> AsyncIterator[asyncio.Semaphore]:
    """Publish a state of each symbol for each release of the semaphore, beside the body."""
    due = asyncio.Semaphore(0)

    async def feed() -> None:
        async with producer.stream() as push:
            while True:
                await due.acquire()
                await push(*symbols)

    async with asyncio.TaskGroup() as tasks:
        feeding = tasks.create_task(feed())
        yield due
        feeding.cancel()


@contextlib.asynccontextmanager
async def run_market(**settings: Any) -> AsyncIterator[tuple[Gateway, Aggregator, Producer]]:
    """Run an aggregator and a gateway, and give a producer."""
    async with (
        run_aggregator() as aggregator,
        run_gateway(f"127.0.0.1:{aggregator.port}", **settings) as gateway,
    ):
        yield gateway, aggregator, Producer(aggregator.port)


@contextlib.asynccontextmanager
async def open_websocket(
    gateway: Gateway, path: str, *, stalling: bool = False, **options: Any
) -> AsyncIterator[ClientConnection]:
    """Connect the library of that name; ``stalling``: what it does not read fills up quickly."""
    if stalling:
        options |= {"sock": await connect_socket(gateway), "max_queue": 1}
    async with websockets.connect(f"ws://{gateway.address}{path}", proxy=None, **options) as client:
        yield client


async def connect_socket(gateway: Gateway, *, buffer_bytes: int = SMALL_BUFFER) -> socket.socket:
    """Return a connected socket that takes little before it is read."""
    host, port = gateway.address.rsplit(":", 1)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
    return sock


async def receive(client: ClientConnection) -> Any:
    """Return the next JSON message."""
    async with asyncio.timeout(TIMEOUT_S):
        return orjson.loads(await client.recv())


async def receive_until(client: ClientConnection, kind: str) -> Any:
    """Return the next message of a type; those before it are thrown away."""
    while (message := await receive(client))["type"] != kind:
        pass
    return message


async def send(client: ClientConnection, **message: object) -> None:
    """Send one JSON message."""
    await client.send(orjson.dumps(message).decode())


async def closed_with(client: ClientConnection) -> int | None:
    """Wait until the server closes; return its code."""
    async with asyncio.timeout(TIMEOUT_S):
        await client.wait_closed()
    return client.close_code


def states(symbol: str, sequences: Iterable[int], epoch: int = 7) -> list[bytes]:
    """Return states as an aggregator publishes them."""
    return [
        wire.Aggregate(symbol=symbol, sequence=each, epoch=epoch).SerializeToString()
        for each in sequences
    ]


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for what the other side of a socket does, which tells nobody."""
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)
