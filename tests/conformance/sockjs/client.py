"""A small HTTP client that sends what it is told and shows chunks as they come."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

TIMEOUT_S = 60.0


@dataclass
class Response:
    """A response whose body may still be on its way."""

    version: str
    status: int
    headers: list[tuple[str, str]]
    connection: HttpConnection
    has_body: bool
    _rest: list[bytes] = field(default_factory=list)

    def __getitem__(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key == name.lower()]
        assert len(values) < 2, f"{name} comes twice"
        return values[0] if values else None

    @property
    def content_type(self) -> str:
        return (self["content-type"] or "").replace(" ", "")

    async def chunk(self) -> str:
        """Return the next chunk of a chunked body, empty at its end."""
        assert self["transfer-encoding"] == "chunked"
        reader = self.connection.reader
        async with asyncio.timeout(TIMEOUT_S):
            size = int(await reader.readline(), 16)
            data = await reader.readexactly(size + 2)
        return data[:-2].decode()

    async def frame(self, count: int = 1) -> str:
        """Return the next chunks of a chunked body as one."""
        return "".join([await self.chunk() for _ in range(count)])

    async def body(self) -> str:
        """Return the rest of the body."""
        if not self.has_body:
            return ""
        async with asyncio.timeout(TIMEOUT_S):
            if (length := self["content-length"]) is not None:
                return (await self.connection.reader.readexactly(int(length))).decode()
            if self["transfer-encoding"] == "chunked":
                chunks: list[str] = []
                while chunk := await self.chunk():
                    chunks.append(chunk)
                return "".join(chunks)
            return (await self.connection.reader.read()).decode()

    def close(self) -> None:
        """Cut the connection."""
        self.connection.close()


class HttpConnection:
    """One TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        *,
        version: str = "1.1",
        **headers: str,
    ) -> Response:
        """Send a request; a keyword ``some_name`` is the header ``some-name``."""
        data = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
        lines = [f"{method} {path} HTTP/{version}", "Host: localhost"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if data is not None:
            lines.append(f"Content-Length: {len(data)}")
        self._writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + (data or b""))
        async with asyncio.timeout(TIMEOUT_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status_line, *header_lines = head.rstrip().split("\r\n")
        protocol, status, *_ = status_line.split(" ")
        pairs = [line.split(":", 1) for line in header_lines]
        return Response(
            protocol.removeprefix("HTTP/"),
            int(status),
            [(name.lower(), value.strip()) for name, value in pairs],
            self,
            has_body=method != "HEAD" and int(status) not in {204, 304},
        )

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    async def at_eof(self) -> bool:
        """Return whether the server closes without another byte."""
        async with asyncio.timeout(TIMEOUT_S):
            return await self.reader.read(1) == b""

    def close(self) -> None:
        self._writer.close()


class Client:
    """Open connections to one server and close them all in the end."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._connections: list[HttpConnection] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for connection in self._connections:
            connection.close()

    async def connect(self) -> HttpConnection:
        connection = HttpConnection(*await asyncio.open_connection("127.0.0.1", self.port))
        self._connections.append(connection)
        return connection

    async def request(
        self, method: str, path: str, body: bytes | str | None = None, **headers: str
    ) -> Response:
        """Send a request on a connection of its own."""
        return await (await self.connect()).request(method, path, body, **headers)

    async def get(self, path: str, **headers: str) -> Response:
        return await self.request("GET", path, **headers)

    async def post(self, path: str, body: bytes | str | None = b"", **headers: str) -> Response:
        return await self.request("POST", path, body, **headers)

    async def options(self, path: str, **headers: str) -> Response:
        return await self.request("OPTIONS", path, **headers)

    async def post_body(self, path: str, body: bytes | str | None = b"") -> str:
        """Return the body of a POST that must succeed."""
        response = await self.post(path, body)
        assert response.status == 200, response
        return await response.body()

    async def get_body(self, path: str) -> str:
        """Return the body of a GET that must succeed."""
        response = await self.get(path)
        assert response.status == 200, response
        return await response.body()

    async def send(self, session_url: str, payload: str) -> None:
        """Send ``payload`` over xhr_send, which must succeed."""
        response = await self.post(f"{session_url}/xhr_send", payload)
        assert response.status == 204
