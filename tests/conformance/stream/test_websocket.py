"""RFC 6455 byte by byte against the stream addresses: sentences 59 to 61 of our wire behaviour."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from tests.doubles.pipeline import TIMEOUT_S
from tests.integration.gateway.streams import Gateway, run_gateway

PATHS = ["/api/v1/stream", "/ws/marketdata"]
PING = b'{"type":"ping"}'
PONG = b'{"type":"pong","receivedNs":"'


@pytest_asyncio.fixture(params=PATHS)
async def path(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


@pytest_asyncio.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with run_gateway("127.0.0.1:1") as gateway:
        yield gateway
        # Whatever a client did, nothing of it is left.
        await gateway.wait_until_left()


class Wire:
    """A client that sends whatever bytes it is told, and reads frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._protocol = ClientProtocol(parse_uri("ws://gateway/"))
        self.response: Response | None = None
        self._frames: list[Frame] = []

    async def shake_hands(self, path: str, subprotocols: list[str]) -> Response:
        protocol = ClientProtocol(
            parse_uri(f"ws://gateway{path}"),
            subprotocols=[Subprotocol(each) for each in subprotocols] or None,
        )
        protocol.send_request(protocol.connect())
        self._protocol = protocol
        self._writer.write(b"".join(protocol.data_to_send()))
        while self.response is None:
            await self._read()
        return self.response

    def send(self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> None:
        """Write one frame, masked with zeros, whatever is wrong with it."""
        first = (0x80 if fin else 0) | rsv << 4 | opcode
        size = len(payload)
        assert size < 65536
        head = bytes([first, 0x80 | size]) if size < 126 else struct.pack("!BBH", first, 254, size)
        self._writer.write(head + bytes(4) + payload)

    async def next(self, opcode: Opcode) -> Frame:
        """Return the next frame of a kind; others are thrown away."""
        while True:
            for position, frame in enumerate(self._frames):
                if frame.opcode is opcode:
                    del self._frames[: position + 1]
                    return frame
            self._frames.clear()
            await self._read()

    async def close_code(self) -> int:
        """Return the code of the server's close frame, and wait until it has closed."""
        frame = await self.next(Opcode.CLOSE)
        async with asyncio.timeout(TIMEOUT_S):
            # RFC 6455, 7.1.1: the server closes TCP first.
            while await self._reader.read(65536):
                pass
        return struct.unpack("!H", frame.data[:2])[0] if frame.data else 1005

    async def _read(self) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            data = await self._reader.read(65536)
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        # The answer to a close of the server's.
        self._writer.write(b"".join(self._protocol.data_to_send()))
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                self.response = event
            else:
                assert isinstance(event, Frame)
                self._frames.append(event)
        assert data or self._frames, "the server closed without a word"


@contextlib.asynccontextmanager
async def connect(gateway: Gateway, path: str, *subprotocols: str) -> AsyncIterator[Wire]:
    host, port = gateway.address.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        wire = Wire(reader, writer)
        assert (await wire.shake_hands(path, list(subprotocols))).status_code == 101
        yield wire
    finally:
        writer.transport.abort()


# 59: "Close codes 1000-1003, 1007-1011, 3000, 3999, 4000, 4999 are echoed (or answered by 1000);
# 0, 999, 1004-1006, 1016, 1100, 2000, 2999 are answered by 1002."


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
)
async def test_a_close_code_that_may_be_sent_is_echoed(
    gateway: Gateway, path: str, code: int
) -> None:
    async with connect(gateway, path) as wire:
        wire.send(Opcode.CLOSE, struct.pack("!H", code) + b"bye")
        assert await wire.close_code() in {code, 1000}


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999])
async def test_a_close_code_that_may_not_be_sent_is_answered_by_1002(
    gateway: Gateway, path: str, code: int
) -> None:
    async with connect(gateway, path) as wire:
        wire.send(Opcode.CLOSE, struct.pack("!H", code))
        assert await wire.close_code() == 1002


async def test_a_close_without_a_code_is_answered(gateway: Gateway, path: str) -> None:
    async with connect(gateway, path) as wire:
        wire.send(Opcode.CLOSE)
        assert await wire.close_code() in {1000, 1005}


@pytest.mark.parametrize("payload", [b"\x03", struct.pack("!H", 1000) + b"x" * 124])
async def test_a_close_of_a_wrong_length_is_answered_by_1002(
    gateway: Gateway, path: str, payload: bytes
) -> None:
    async with connect(gateway, path) as wire:
        wire.send(Opcode.CLOSE, payload)
        assert await wire.close_code() == 1002


async def test_a_close_reason_that_is_not_utf8_is_answered_by_1007(
    gateway: Gateway, path: str
) -> None:
    async with connect(gateway, path) as wire:
        wire.send(Opcode.CLOSE, struct.pack("!H", 1000) + b"\xff")
        assert await wire.close_code() == 1007


# 60: "Invalid UTF-8 in text messages closes with 1007, reserved bits and opcodes with 1002; pings
# are answered during a fragmented message."


@pytest.mark.parametrize(
    "text",
    [b"\xff", b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80", b"\xf4\x90\x80\x80"],
)
async def test_text_that_is_not_utf8_closes_with_1007(
    gateway: Gateway, path: str, text: bytes
) -> None:
    async with connect(gateway, path) as wire:
        wire.send(Opcode.TEXT, text)
        assert await wire.close_code() == 1007


async def test_fragments_that_together_are_not_utf8_close_with_1007(
    gateway: Gateway, path: str
) -> None:
    async with connect(gateway, path) as wire:
        wire.send(Opcode.TEXT, b"\xce", fin=False)
        wire.send(Opcode.CONT, b"\xff")
        assert await wire.close_code() == 1007


@pytest.mark.parametrize("rsv", [1, 2, 4, 7])
async def test_reserved_bits_close_with_1002(gateway: Gateway, path: str, rsv: int) -> None:
    async with connect(gateway, path) as wire:
        wire.send(Opcode.TEXT, PING, rsv=rsv)
        assert await wire.close_code() == 1002


@pytest.mark.parametrize("opcode", [3, 7, 11, 15])
async def test_reserved_opcodes_close_with_1002(gateway: Gateway, path: str, opcode: int) -> None:
    async with connect(gateway, path) as wire:
        wire.send(opcode)
        assert await wire.close_code() == 1002


@pytest.mark.parametrize(
    "frames",
    [
        [(Opcode.CONT, True)],
        [(Opcode.TEXT, False), (Opcode.TEXT, True)],
        [(Opcode.PING, False)],
    ],
)
async def test_fragments_out_of_order_close_with_1002(
    gateway: Gateway, path: str, frames: list[tuple[Opcode, bool]]
) -> None:
    async with connect(gateway, path) as wire:
        for opcode, fin in frames:
            wire.send(opcode, b"x", fin=fin)
        assert await wire.close_code() == 1002


async def test_a_ping_is_answered_during_a_fragmented_message(gateway: Gateway) -> None:
    async with connect(gateway, "/api/v1/stream") as wire:
        # The status.
        await wire.next(Opcode.TEXT)
        wire.send(Opcode.TEXT, PING[:5], fin=False)
        wire.send(Opcode.PING, b"between")
        assert (await wire.next(Opcode.PONG)).data == b"between"
        wire.send(Opcode.CONT, PING[5:-1], fin=False)
        wire.send(Opcode.PING, b"again")
        assert (await wire.next(Opcode.PONG)).data == b"again"
        wire.send(Opcode.CONT, PING[-1:])
        assert bytes((await wire.next(Opcode.TEXT)).data).startswith(PONG)


async def test_a_message_in_single_bytes_is_one_message(gateway: Gateway) -> None:
    async with connect(gateway, "/api/v1/stream") as wire:
        await wire.next(Opcode.TEXT)
        wire.send(Opcode.TEXT, PING[:1], fin=False)
        for byte in PING[1:]:
            wire.send(Opcode.CONT, bytes([byte]), fin=False)
        wire.send(Opcode.CONT)
        assert bytes((await wire.next(Opcode.TEXT)).data).startswith(PONG)


async def test_a_binary_message_closes_with_1003(gateway: Gateway) -> None:
    async with connect(gateway, "/api/v1/stream") as wire:
        wire.send(Opcode.BINARY, PING)
        assert await wire.close_code() == 1003


# 61: "A client that offers subprotocols gets one of them selected or no header, never one it did
# not offer."


@pytest.mark.parametrize("offered", [[], ["v12.stomp"], ["graphql-transport-ws", "x"]])
async def test_no_subprotocol_is_selected(gateway: Gateway, path: str, offered: list[str]) -> None:
    async with connect(gateway, path, *offered) as wire:
        assert wire.response is not None
        assert "Sec-WebSocket-Protocol" not in wire.response.headers
