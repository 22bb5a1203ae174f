"""A STOMP client that does as it is told, on the `websockets` library."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError
from websockets.typing import Subprotocol

TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as it came."""

    command: str
    headers: dict[str, str]
    body: str

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    def __getitem__(self, name: str) -> str:
        return self.headers[name]


def encode(command: str, body: str = "", **headers: object) -> str:
    """Return a frame; an underscore in a name stands for a hyphen."""
    lines = [command, *(f"{name.replace('_', '-')}:{value}" for name, value in headers.items())]
    return "\n".join([*lines, "", f"{body}\0"])


def decode(text: str) -> Frame:
    """Return the frame in one message."""
    assert text.endswith("\0")
    head, _, body = text[:-1].partition("\n\n")
    command, *lines = head.split("\n")
    headers = (line.split(":", 1) for line in lines)
    return Frame(command, {name: value.replace(r"\c", ":") for name, value in headers}, body)


class StompClient:
    """One connected session."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket

    async def send(self, command: str, body: str = "", **headers: str | int) -> None:
        await self.websocket.send(encode(command, body, **headers))

    async def subscribe(
        self, destination: str, subscription: str = "0", **headers: str | int
    ) -> None:
        """Subscribe, and return when it took effect."""
        headers |= {"id": subscription, "destination": destination, "receipt": "s"}
        await self.send("SUBSCRIBE", "", **headers)
        assert (await self.next())["receipt-id"] == "s"

    async def next(self) -> Frame:
        """Return the next frame."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                text = await self.websocket.recv()
                assert isinstance(text, str)
                if text != "\n":
                    return decode(text)

    async def messages(self, count: int) -> list[Frame]:
        """Return the next frames, which must be MESSAGEs."""
        frames = [await self.next() for _ in range(count)]
        assert {frame.command for frame in frames} <= {"MESSAGE"}, frames
        return frames

    async def wait_closed(self) -> tuple[int | None, str | None]:
        """Return code and reason of the close; what comes before is thrown away."""
        async with asyncio.timeout(TIMEOUT_S):
            with contextlib.suppress(ConnectionClosedError):
                async for _ in self.websocket:
                    pass
            await self.websocket.wait_closed()
        return self.websocket.close_code, self.websocket.close_reason


def cramped_socket(address: str) -> socket.socket:
    """Return a connection that holds little of what its owner does not read."""
    host, port = address.rsplit(":", 1)
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    small.connect((host, int(port)))
    small.setblocking(False)
    return small


@contextlib.asynccontextmanager
async def open_lazy_stomp(address: str) -> AsyncIterator[StompClient]:
    """Connect a session that reads only while ``next`` is waited for, or a little more."""
    async with open_stomp(address, sock=cramped_socket(address), max_queue=1) as client:
        yield client


@contextlib.asynccontextmanager
async def open_stomp(address: str, path: str = "/ws", **options: Any) -> AsyncIterator[StompClient]:
    """Connect a session of STOMP 1.2 for the time of the context."""
    protocols = [Subprotocol("v12.stomp")]
    url = f"ws://{address}{path}"
    async with connect(
        url, subprotocols=protocols, proxy=None, compression=None, **options
    ) as websocket:
        client = StompClient(websocket)
        await client.send("CONNECT", accept_version="1.2", host="test")
        assert (await client.next()).command == "CONNECTED"
        yield client
