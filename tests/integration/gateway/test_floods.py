"""Floods of cheap frames end for their sender, and nobody else waits."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator

import orjson
import pytest
from websockets.asyncio.client import connect

from tests.doubles.stomp import encode, open_stomp
from tests.integration.gateway.doubles import running_aggregator
from tests.integration.gateway.live import gateway_to, live

LIMIT_EXCEEDED = 4429
TIMEOUT_S = 30
# For how long the event loop may serve nobody else, in processor time: other processes do not
# count.
MAX_PAUSE_S = 0.25


def masked(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """Return a frame of a client, with a mask of zeros."""
    assert len(payload) < 65536
    head = bytes([opcode | 0x80 * fin])
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else bytes([0xFE]) + struct.pack("!H", size)
    return head + length + bytes(4) + payload


PING, PONG, TEXT, CONTINUATION = 9, 10, 1, 0
# With its FIN bit.
CLOSE = 0x88

# Each begins with what a client sends first, then what it repeats.
FLOODS = {
    "pings": ("/api/v1/stream", "", b"", masked(PING)),
    "pings with payload": ("/api/v1/stream", "", b"", masked(PING, b"x" * 125)),
    "pongs": ("/ws/marketdata", "", b"", masked(PONG)),
    "one-byte fragments": (
        *("/api/v1/stream", "", masked(TEXT, b" ", fin=False)),
        masked(CONTINUATION, b" ", fin=False),
    ),
    "empty fragments": (
        *("/ws", "v12.stomp", masked(TEXT, b"", fin=False)),
        masked(CONTINUATION, b"", fin=False),
    ),
    "empty messages": ("/ws/marketdata", "", b"", masked(TEXT)),
    "heart-beats of STOMP": (
        *("/ws", "v12.stomp", masked(TEXT, encode("CONNECT", accept_version="1.2").encode())),
        masked(TEXT, b"\n"),
    ),
    "STOMP frames without an effect": (
        *("/ws", "v12.stomp", masked(TEXT, encode("CONNECT", accept_version="1.2").encode())),
        masked(
            TEXT,
            (encode("BEGIN", transaction="t") + encode("ABORT", transaction="t")).encode() * 1000,
        ),
    ),
    "empty SockJS frames": ("/ws/000/flood/websocket", "", b"", masked(TEXT)),
    "empty SockJS arrays": ("/ws/000/flood/websocket", "", b"", masked(TEXT, b"[]")),
    "pings to SockJS": ("/ws/000/flood/websocket", "", b"", masked(PING)),
    "pings of graphql-ws": (
        *("/graphql", "graphql-transport-ws", masked(TEXT, b'{"type":"connection_init"}')),
        masked(TEXT, b'{"type":"ping"}'),
    ),
    "pings to GraphQL": (
        *("/graphql", "graphql-transport-ws", masked(TEXT, b'{"type":"connection_init"}')),
        masked(PING),
    ),
}


class Flooder:
    """A client in a thread of its own, which sends one frame again and again."""

    def __init__(self, address: str, path: str, protocol: str, first: bytes, again: bytes) -> None:
        host, port = address.rsplit(":", 1)
        self._sock = socket.create_connection((host, int(port)), timeout=TIMEOUT_S)
        self._path, self._protocol, self._host = path, protocol, address
        self._first, self._again = first, again * (100_000 // len(again) or 1)
        self.received = b""
        self.close_code: int | None = None
        self.ended = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        protocol = f"Sec-WebSocket-Protocol: {self._protocol}\r\n" if self._protocol else ""
        self._sock.sendall(
            f"GET {self._path} HTTP/1.1\r\nHost: {self._host}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            f"{protocol}\r\n".encode()
        )
        while b"\r\n\r\n" not in self.received:
            self.received += self._sock.recv(4096)
        self.received = self.received.partition(b"\r\n\r\n")[2]
        self._reader.start()
        with contextlib.suppress(OSError):
            self._sock.sendall(self._first)
            while not self.ended.is_set():
                self._sock.sendall(self._again)

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while self.close_code is None and (data := self._sock.recv(1 << 20)):
                self.received += data
                self._read_frames()
        self.ended.set()

    def _read_frames(self) -> None:
        # Pongs may follow the close frame: a ping is answered until the client closes too.
        at, data = 0, self.received
        while len(data) - at >= 4:
            size, head = data[at + 1], 2
            if size == 126:
                size, head = int.from_bytes(data[at + 2 : at + 4]), 4
            if len(data) - at < head + size:
                break
            if data[at] == CLOSE:
                self.close_code = int.from_bytes(data[at + head : at + head + 2])
                break
            at += head + size
        self.received = data[at:]

    def stop(self) -> None:
        self.ended.set()
        self._sock.close()


class Pauses:
    """The longest processor time that the event loop used without serving others."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def watch(self) -> None:
        while True:
            begun = time.thread_time()
            await asyncio.sleep(0.005)
            self.longest = max(self.longest, time.thread_time() - begun)


@contextlib.asynccontextmanager
async def watched() -> AsyncIterator[Pauses]:
    pauses = Pauses()
    watching = asyncio.create_task(pauses.watch())
    try:
        yield pauses
    finally:
        watching.cancel()


@pytest.mark.parametrize("flood", FLOODS)
async def test_a_flood_of_cheap_frames_ends_for_its_sender_alone(flood: str) -> None:
    async with running_aggregator() as aggregator:
        port = int(aggregator.address.rpartition(":")[2])
        async with (
            gateway_to(port) as address,
            connect(f"ws://{address}/api/v1/stream", proxy=None) as other,
        ):
            flooder = Flooder(address, *FLOODS[flood])
            try:
                async with watched() as pauses:
                    flooder.start()
                    await asyncio.to_thread(flooder.ended.wait, TIMEOUT_S)
                assert flooder.close_code == LIMIT_EXCEEDED
                assert pauses.longest < MAX_PAUSE_S
                # The other client is served as before.
                await other.send('{"type":"ping"}')
                async with asyncio.timeout(TIMEOUT_S):
                    while orjson.loads(await other.recv())["type"] != "pong":
                        pass
            finally:
                flooder.stop()


async def test_a_flood_goes_on_after_the_close_without_a_pause_for_others() -> None:
    async with running_aggregator() as aggregator:
        port = int(aggregator.address.rpartition(":")[2])
        async with gateway_to(port) as address:
            flooder = Flooder(address, *FLOODS["pings"])
            flooder.start()
            try:
                await asyncio.to_thread(flooder.ended.wait, TIMEOUT_S)
                assert flooder.close_code == LIMIT_EXCEEDED
                async with watched() as pauses:
                    with contextlib.suppress(OSError):
                        for _ in range(100):
                            await asyncio.to_thread(flooder._sock.sendall, flooder._again)
                assert pauses.longest < MAX_PAUSE_S
            finally:
                flooder.stop()


async def test_pings_at_a_usual_rate_are_answered() -> None:
    async with running_aggregator() as aggregator:
        port = int(aggregator.address.rpartition(":")[2])
        async with (
            gateway_to(port, message_rate=50, message_burst=20) as address,
            connect(f"ws://{address}/api/v1/stream", proxy=None) as client,
        ):
            for _ in range(40):
                async with asyncio.timeout(TIMEOUT_S):
                    await (await client.ping())
                await asyncio.sleep(0.025)


async def test_a_long_message_in_fragments_arrives_whole() -> None:
    async with running_aggregator() as aggregator:
        port = int(aggregator.address.rpartition(":")[2])
        async with (
            gateway_to(port) as address,
            connect(f"ws://{address}/api/v1/stream", proxy=None) as client,
        ):
            text = '{"type":"ping"' + " " * 100_000 + "}"
            await client.send(text[at : at + 1000] for at in range(0, len(text), 1000))
            async with asyncio.timeout(TIMEOUT_S):
                while orjson.loads(await client.recv())["type"] != "pong":
                    pass


async def test_a_burst_of_signaling_disconnects_its_sender_and_no_reader() -> None:
    async with live() as (address, _), open_stomp(address) as reader, open_stomp(address) as sender:
        await reader.subscribe("/topic/signaling")
        received = 0

        async def read() -> None:
            nonlocal received
            while received < 4:
                frame = await reader.next()
                assert frame.command == "MESSAGE"
                received += 1

        body = orjson.dumps(
            {"type": "OFFER", "senderId": "a", "targetId": "b", "sdp": "x" * 63_000}
        ).decode()
        reading = asyncio.create_task(read())
        with contextlib.suppress(Exception):
            for _ in range(95):
                await sender.send("SEND", body, destination="/app/signal")
        assert (await sender.wait_closed())[0] == LIMIT_EXCEEDED
        async with asyncio.timeout(TIMEOUT_S):
            await reading
        # The reader is there, and gets what follows.
        async with open_stomp(address) as other:
            await other.send("SEND", '{"type":"JOIN","senderId":"c"}', destination="/app/signal")
            while (frame := await reader.next()).json["senderId"] != "c":
                assert frame.command == "MESSAGE"
