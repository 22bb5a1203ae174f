"""WebSocket clients that break the rules are no errors of ours."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from random import Random

import pytest

from tests.fuzz.answers import close_code
from tests.fuzz.cases import frame, handshake
from tests.integration.gateway.live import gateway_to

NO_AGGREGATOR = 1
NOT_UTF8 = frame(Random(1), b"\xff")
CLOSE = frame(Random(2), b"\x03\xe8", 8)
RESERVED_OPCODE = frame(Random(3), b"", 3)


async def answer(address: str, *sent: bytes) -> bytes:
    """Return what the gateway says until it closes."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    with contextlib.closing(writer):
        async with asyncio.timeout(10):
            writer.write(sent[0])
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(b"".join(sent[1:]))
            return head + await reader.read()


@pytest.mark.parametrize(
    "path", [b"/ws", b"/ws/0/s/websocket", b"/ws/marketdata", b"/api/v1/stream"]
)
async def test_text_that_is_not_utf8_closes_with_1007_and_logs_no_error(
    caplog: pytest.LogCaptureFixture, path: bytes
) -> None:
    async with gateway_to(NO_AGGREGATOR) as address:
        received = await answer(address, handshake(Random(1), path), NOT_UTF8)
        assert close_code(received) == 1007
    assert errors(caplog) == []


async def test_text_that_is_not_utf8_right_before_the_close_logs_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with gateway_to(NO_AGGREGATOR) as address:
        received = await answer(address, handshake(Random(1), b"/ws"), NOT_UTF8 + CLOSE)
        assert close_code(received) == 1000
    assert errors(caplog) == []


@pytest.mark.parametrize("transport", [b"jsonp?c=f", b"eventsource", b"htmlfile?c=f"])
async def test_a_head_of_a_sockjs_transport_is_refused_and_takes_no_message(
    transport: bytes,
) -> None:
    async with gateway_to(NO_AGGREGATOR) as address:
        request = b" /ws/0/s/%s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % transport
        assert (await answer(address, b"HEAD" + request)).startswith(b"HTTP/1.1 405 ")
        post = b"POST /ws/0/s/xhr HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        # The open frame is the first message of a new session.
        assert (await answer(address, post)).endswith(b"\r\n\r\no\n")


async def test_a_handshake_that_is_refused_logs_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async with gateway_to(NO_AGGREGATOR) as address:
        received = await answer(address, handshake(Random(1), b"/ws/nix"), CLOSE)
        assert received.startswith(b"HTTP/1.1 404 ")
    assert errors(caplog) == []


async def test_frames_that_break_rfc6455_log_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async with gateway_to(NO_AGGREGATOR) as address:
        await answer(address, handshake(Random(1), b"/ws"), RESERVED_OPCODE)
    assert errors(caplog) == []


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the server's protocol logged; gRPC's poller complains of closed test loops."""
    return [
        each.getMessage()
        for each in caplog.records
        if each.levelno >= logging.ERROR and "PollerCompletionQueue" not in each.getMessage()
    ]


@pytest.mark.parametrize("method", [b"HEAD", b"GET", b"POST"])
async def test_a_body_that_is_not_http_is_answered_400_and_logs_no_error(
    caplog: pytest.LogCaptureFixture, method: bytes
) -> None:
    head = b" /api/v1/symbols HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnone\r\n"
    async with gateway_to(NO_AGGREGATOR) as address:
        received = await answer(address, method + head)
        assert received.startswith(b"HTTP/1.1 400 ")
    assert errors(caplog) == []
