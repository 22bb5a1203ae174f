"""A gateway of several processes, and connections to the one that a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import psutil

from tests.doubles.processes import TIMEOUT_S, Service, run_gateway
from tests.doubles.stomp import StompClient, open_stomp
from tests.integration.gateway.live import Feed, feeding

SOCKETS = "@marketdata-gateway-"


def left_of(sockets: set[str]) -> set[str]:
    """Return those that the machine still has."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    return sockets & {line.rpartition(" ")[2] for line in lines}


@dataclass(frozen=True, slots=True)
class Workers:
    """A running gateway, and the feed of its aggregator."""

    service: Service
    feed: Feed
    port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def processes(self) -> list[psutil.Process]:
        """Return the workers, in the order in which they began."""
        return psutil.Process(self.service.process.pid).children()

    def sockets(self) -> set[str]:
        """Return the names of the sockets by which the workers talk, which their parent keeps."""
        connections = psutil.Process(self.service.process.pid).net_connections("unix")
        names = {str(each.laddr) for each in connections}
        return {name for name in names if name.startswith(SOCKETS)}

    async def connect(self, worker: int | None = None) -> HttpConnection:
        """Connect, to ``worker`` if it is named."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                sock = socket.socket()
                sock.setblocking(False)
                await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
                connection = HttpConnection(sock)
                if worker is None or await connection.worker() == worker:
                    return connection
                connection.close()

    @contextlib.asynccontextmanager
    async def stomp(self, worker: int, **options: Any) -> AsyncIterator[StompClient]:
        """Connect a STOMP session to ``worker`` for the time of the context."""
        connection = await self.connect(worker)
        async with open_stomp(self.address, sock=connection.sock, **options) as client:
            yield client

    async def status(self) -> dict[str, Any]:
        """Return what the gateway says of itself."""
        connection = await self.connect()
        try:
            status: dict[str, Any] = orjson.loads((await connection.get("/api/v1/status")).body)
            return status
        finally:
            connection.close()


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response."""

    status: int
    headers: dict[str, str]
    body: bytes


class HttpConnection:
    """One connection, whose requests the test writes itself."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = b""

    def close(self) -> None:
        self.sock.close()

    async def worker(self) -> int:
        """Return the number of the worker that serves this connection."""
        status = orjson.loads((await self.get("/api/v1/status")).body)
        number: int = status["gateway"]["worker"]
        return number

    async def get(self, path: str, headers: str = "") -> Answer:
        await self.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
        return await self.answer()

    async def post(self, path: str, body: bytes = b"") -> Answer:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        await self.write(head.encode() + body)
        return await self.answer()

    async def write(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def answer(self) -> Answer:
        """Return the next response."""
        head = await self.read_until(b"\r\n\r\n")
        status, *lines = head.decode().rstrip().split("\r\n")
        headers = {name.lower(): text for name, _, text in (each.partition(": ") for each in lines)}
        body = b""
        if "content-length" in headers:
            body = await self._read_exactly(int(headers["content-length"]))
        return Answer(int(status.split()[1]), headers, body)

    async def read_until(self, end: bytes) -> bytes:
        """Return what comes, up to ``end``."""
        while end not in self._buffer:
            await self._read()
        data, _, self._buffer = self._buffer.partition(end)
        return data + end

    async def _read_exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            await self._read()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    async def _read(self) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            data = await asyncio.get_running_loop().sock_recv(self.sock, 65536)
        if not data:
            raise EOFError(self._buffer)
        self._buffer += data


@contextlib.asynccontextmanager
async def run_workers(count: int = 2, **env: str) -> AsyncIterator[Workers]:
    """Run an aggregator and a gateway of ``count`` processes for the time of the context."""
    async with (
        feeding() as (port, feed),
        run_gateway(port, GATEWAY_WORKERS=str(count), **env) as (service, http),
    ):
        workers = Workers(service, feed, int(http.base_url.port or 0))
        while (await workers.status())["status"] != "ok":
            await service.wait_for_log("feed connected")
        yield workers


@contextlib.asynccontextmanager
async def connection_to(
    workers: Workers, worker: int | None = None
) -> AsyncIterator[HttpConnection]:
    """Connect for the time of the context, to ``worker`` if it is named."""
    with contextlib.closing(await workers.connect(worker)) as connection:
        yield connection


async def open_session(workers: Workers, session: str, worker: int) -> HttpConnection:
    """Open a session of SockJS at ``worker``, whosever it is."""
    connection = await workers.connect(worker)
    answer = await connection.post(f"/ws/0/{session}/xhr")
    assert (answer.status, answer.body) == (200, b"o\n")
    return connection


async def session_of_another(workers: Workers, worker: int) -> str:
    """Return the name of a new session that would not be of ``worker``."""
    for _ in range(64):
        name = uuid4().hex
        async with connection_to(workers, worker) as connection:
            await connection.post(f"/ws/0/{name}/xhr_send", b"[]")
            if await connection.worker() != worker:
                return name
    raise AssertionError("every session is of one worker")
