"""Stream clients that come back when they are cut, and see whether they missed anything."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from benchmarks.harness import WrongResult

# Of the client for browsers, gateway/dashboard/src/client/backoff.ts.
FIRST_DELAY_S = 0.5
MAX_DELAY_S = 10.0
TIMEOUT_S = 120.0
# Close with a reset, as a proxy that dies does.
RESET = struct.pack("ii", 1, 0)
NO_MASK = bytes(4)
PING = 0x89
UPDATE = re.compile(
    rb'"recovered":(true|false|null),"conflated":(\d+),"sequence":"(\d+)","epoch":"(\d+)"'
)
RETRY_AFTER = re.compile(rb"(?i)retry-after: *(\d+)")


@dataclass(slots=True)
class Returned:
    """How all clients came back after a cut."""

    # From the cut until each had its answer, in order.
    times_s: list[float] = field(default_factory=list)
    recovered: int = 0
    refused: int = 0
    attempts: int = 0


class StreamClient(asyncio.Protocol):
    """One client that follows a symbol, and comes back when it is cut.

    Raises nothing: what is wrong is counted in ``faults``.
    """

    def __init__(self, crowd: StreamCrowd, symbol: str) -> None:
        self.symbol = symbol
        self._crowd = crowd
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._is_open = False
        self._attempts = 0
        self._retry_after_s = 0.0
        self._position: tuple[int, int] | None = None
        self._is_first = False

    async def connect(self) -> None:
        """Connect; a failure counts as a connection that was lost."""
        loop = asyncio.get_running_loop()
        self._buffer = b""
        self._is_open = False
        self._crowd.returned.attempts += 1
        try:
            await loop.create_connection(lambda: self, *self._crowd.address)
        except OSError:
            self.connection_lost(None)

    def cut(self) -> None:
        """Lose the connection, with a reset."""
        if self._transport is not None:
            sock: socket.socket = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a WebSocket."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(
            b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Version: 13\r\n\r\n"
        )

    def data_received(self, data: bytes) -> None:
        """Take the answer to the handshake, then frames."""
        self._buffer += data
        if not self._is_open:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            if b" 101 " not in head[:20]:
                found = RETRY_AFTER.search(head)
                self._retry_after_s = float(found[1]) if found else 0.0
                self._crowd.returned.refused += 1
                assert self._transport is not None
                self._transport.close()
                return
            self._is_open = True
            self._buffer = rest
            self._subscribe()
        self._take_frames()

    def connection_lost(self, exc: Exception | None) -> None:
        """Come back later."""
        self._transport = None
        self._crowd.lost(self)
        if self._crowd.is_over:
            return
        ceiling_s = min(MAX_DELAY_S, FIRST_DELAY_S * 2 ** min(self._attempts, 10))
        delay_s = self._retry_after_s or ceiling_s * self._crowd.random.uniform(0.5, 1.0)
        self._retry_after_s = 0.0
        self._attempts += 1
        asyncio.get_running_loop().call_later(delay_s, self._crowd.connect_soon, self)

    def _subscribe(self) -> None:
        resume = b""
        if self._position is not None:
            epoch, last = self._position
            resume = b',"resume":{"epoch":"%d","sequences":{"%b":"%d"}}' % (
                epoch,
                self.symbol.encode(),
                last,
            )
        message = b'{"type":"subscribe","id":"1","symbols":["%b"],"policy":"buffer"%b}' % (
            self.symbol.encode(),
            resume,
        )
        size = len(message)
        head = bytes((0x81, 0x80 | size)) if size < 126 else b"\x81\xfe" + size.to_bytes(2)
        self._is_first = True
        assert self._transport is not None
        self._transport.write(head + NO_MASK + message)

    def _take_frames(self) -> None:
        buffer, start = self._buffer, 0
        while len(buffer) - start >= 2:
            size, begin = buffer[start + 1], start + 2
            if size == 126:
                size, begin = int.from_bytes(buffer[start + 2 : start + 4]), start + 4
            if len(buffer) < begin + size:
                break
            if buffer[start] == PING:
                assert self._transport is not None
                pong = b"\x8a" + bytes((0x80 | size,)) + NO_MASK
                self._transport.write(pong + buffer[begin : begin + size])
            else:
                self._take(buffer[begin : begin + size])
            start = begin + size
        self._buffer = buffer[start:]

    def _take(self, message: bytes) -> None:
        if message.startswith(b'{"type":"subscribed"'):
            self._attempts = 0
            self._crowd.back(self)
            return
        found = UPDATE.search(message)
        if found is None:
            if message.startswith(b'{"type":"error"'):
                self._crowd.faults["error"] += 1
            return
        sequence, epoch = int(found[3]), int(found[4])
        if self._position is not None:
            if self._is_first:
                self._crowd.returned.recovered += found[1] == b"true"
            last = self._position[1] if epoch == self._position[0] else None
            if last is not None and found[1] != b"false" and sequence != last + 1:
                self._crowd.faults["repeat" if sequence <= last else "hole"] += 1
        if self._is_first:
            self._is_first = False
            self._crowd.has_state(self)
        self._position = (epoch, sequence)


class StreamCrowd:
    """Many clients of one gateway, in this process."""

    def __init__(self, port: int, symbols: Sequence[str], count: int, random: Random) -> None:
        self.address = ("127.0.0.1", port)
        self.random = random
        self.returned = Returned()
        self.faults: Counter[str] = Counter()
        self.is_over = False
        self._clients = [StreamClient(self, symbols[n % len(symbols)]) for n in range(count)]
        self._away: set[StreamClient] = set(self._clients)
        self._without_state: set[StreamClient] = set(self._clients)
        self._all_back = asyncio.Event()
        self._began = time.perf_counter()
        self._connecting: set[asyncio.Task[None]] = set()

    def connect_soon(self, client: StreamClient) -> None:
        """Let a client connect."""
        if self.is_over:
            return
        task = asyncio.create_task(client.connect())
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def back(self, client: StreamClient) -> None:
        """Note that a client is subscribed."""
        if client in self._away:
            self._away.discard(client)
            self.returned.times_s.append(time.perf_counter() - self._began)

    def has_state(self, client: StreamClient) -> None:
        """Note that a client has its first update."""
        self._without_state.discard(client)
        if not self._without_state:
            self._all_back.set()

    def lost(self, client: StreamClient) -> None:
        """Note that a client is not connected."""
        self._away.add(client)
        self._without_state.add(client)

    async def wait_until_back(self) -> Returned:
        """Wait until every client is subscribed and has an update; return how that went.

        Raises:
            WrongResult: not all are back, or one has a hole or a repeat.
        """
        self._all_back.clear()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._all_back.wait()
        except TimeoutError as exc:
            raise WrongResult(f"{len(self._without_state)} clients did not come back") from exc
        if self.faults:
            raise WrongResult(f"clients saw {dict(self.faults)}")
        return self.returned

    async def cut(self) -> Returned:
        """Cut all at once, and wait until all are back.

        Raises:
            WrongResult: see :meth:`wait_until_back`.
        """
        self.returned = Returned()
        self._began = time.perf_counter()
        for client in self._clients:
            client.cut()
            self.lost(client)
        return await self.wait_until_back()

    async def begin(self) -> Returned:
        """Connect all, and wait until each has its first update.

        Raises:
            WrongResult: see :meth:`wait_until_back`.
        """
        for client in self._clients:
            self.connect_soon(client)
        return await self.wait_until_back()

    def stop(self) -> None:
        """Disconnect."""
        self.is_over = True
        for client in self._clients:
            client.cut()
