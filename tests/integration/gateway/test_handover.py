"""A WebSocket that goes on when the task that accepted it has ended."""

from __future__ import annotations

import asyncio
import re
import struct

from structlog.testing import capture_logs

from tests.integration.gateway.live import live

HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
TEXT, CLOSE, PING = 0x81, 0x88, 0x89


def frame(opcode: int, data: bytes) -> bytes:
    """Return a frame of a client; a mask of zeros leaves the bytes as they are."""
    assert len(data) < 126
    return bytes((opcode, 0x80 | len(data))) + bytes(4) + data


async def test_a_goodbye_and_a_close_in_one_segment_are_no_error() -> None:
    async with live() as (address, _):
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(HANDSHAKE.format(path="/ws", host=address).encode())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(frame(TEXT, b"CONNECT\naccept-version:1.2\n\n\0"))
        await reader.readuntil(b"\0")
        with capture_logs() as lines:
            bye = frame(CLOSE, struct.pack("!H", 1000))
            writer.write(frame(TEXT, b"DISCONNECT\nreceipt:7\n\n\0") + bye)
            answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert answer.endswith(b"\x88\x02\x03\xe8")
    assert not [line for line in lines if line["log_level"] in {"error", "warning"}]


async def test_nothing_follows_the_close_that_went_out_with_a_pong() -> None:
    async with live() as (address, _):
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(HANDSHAKE.format(path="/ws", host=address).encode())
        await reader.readuntil(b"\r\n\r\n")
        # The ping's answer takes that of the close with it, and the second CONNECT is an error.
        connect = frame(TEXT, b"CONNECT\naccept-version:1.2\n\n\0")
        bye = frame(CLOSE, struct.pack("!H", 1000))
        writer.write(connect + frame(PING, b"") + connect + bye)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert answer == b"\x8a\x00\x88\x02\x03\xe8"


async def test_many_messages_in_one_segment_are_answered_in_order() -> None:
    async with live() as (address, _):
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(HANDSHAKE.format(path="/ws", host=address).encode())
        await reader.readuntil(b"\r\n\r\n")
        messages = [b"CONNECT\naccept-version:1.2\n\n\0"]
        messages += [b"BEGIN\ntransaction:%d\nreceipt:%d\n\n\0" % (n, n) for n in range(10)]
        writer.write(b"".join(frame(TEXT, message) for message in messages))
        answer = await reader.readuntil(b"receipt-id:9\n\n\0")
        writer.close()
        await writer.wait_closed()
    assert answer.count(b"CONNECTED") == 1
    assert re.findall(rb"receipt-id:(\d)", answer) == [b"%d" % n for n in range(10)]
