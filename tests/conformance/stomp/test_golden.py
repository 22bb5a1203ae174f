"""What goes over the wire, byte for byte."""

from __future__ import annotations

import re

import pytest
from websockets.asyncio.client import connect

from tests.doubles.stomp import TIMEOUT_S
from tests.integration.gateway.live import live

# STOMP 1.2, "SUBSCRIBE" and "CONNECT or STOMP Frame", with our destination.
CONNECT = b"CONNECT\naccept-version:1.0,1.1,1.2\nhost:stomp.example.com\n\n\0"
SUBSCRIBE = b"SUBSCRIBE\nid:0\ndestination:/topic/market-data/AAPL\nreceipt:77\nack:auto\n\n\0"
CONNECTED = re.compile(
    r"CONNECTED\nversion:1\.2\nsession:(?P<session>[0-9a-f]+)\nserver:market-data-server\n"
    r"heart-beat:10000,10000\n\n\0"
)
MESSAGE = re.compile(
    r"MESSAGE\nsubscription:0\nmessage-id:(?P<session>[0-9a-f]+)-1\n"
    r"destination:/topic/market-data/AAPL\ncontent-type:application/json\n"
    r"sequence:1\nepoch:(?P<epoch>\d+)\ncontent-length:(?P<length>\d+)\n\n(?P<body>\{.*\})\0"
)
BODY = re.compile(
    r'\{"symbol":"AAPL","open":150\.25,"high":150\.25,"low":150\.25,"close":150\.25,'
    r'"volume":"1","timestamp":"\d{13}","timestampNs":"\d{19}","trades":"1","vwap":150\.25,'
    r'"complete":false,"coverage":"partial","refused":"0",'
    r'"sequence":"1","epoch":"\d+"\}'
)


async def exchange(parts: list[bytes | str]) -> list[str | bytes]:
    """Send ``parts``; return the three answers to CONNECT and SUBSCRIBE."""
    async with live() as (address, feed):
        await feed.price("AAPL", 150.25)
        async with connect(f"ws://{address}/ws/websocket", proxy=None) as websocket:
            for part in parts:
                await websocket.send(part)
            return [await websocket.recv() for _ in range(3)]


BOTH = CONNECT + SUBSCRIBE


@pytest.mark.parametrize(
    "parts",
    [
        [CONNECT.decode(), SUBSCRIBE.decode()],
        [CONNECT, SUBSCRIBE],
        [BOTH],
        [b"\n\r\n" + CONNECT + b"\n" + SUBSCRIBE + b"\n\n"],
        [BOTH[index : index + 1] for index in range(len(BOTH))],
        [BOTH.replace(b"\n", b"\r\n")],
        [BOTH.replace(b"CONNECT\n", b"STOMP\n", 1)],
    ],
    ids=["text", "binary", "one-message", "end-of-lines", "bytes", "crlf", "stomp"],
)
async def test_however_the_frames_come_the_answers_are_the_same(parts: list[bytes | str]) -> None:
    connected, receipt, message = await exchange(parts)
    # Text messages, as every STOMP client for browsers expects them.
    assert isinstance(connected, str)
    assert isinstance(message, str)
    session = CONNECTED.fullmatch(connected)
    assert session is not None, connected
    assert receipt == "RECEIPT\nreceipt-id:77\n\n\0"
    seen = MESSAGE.fullmatch(message)
    assert seen is not None, message
    assert seen["session"] == session["session"]
    assert int(seen["length"]) == len(seen["body"].encode())
    assert BODY.fullmatch(seen["body"]), seen["body"]


@pytest.mark.parametrize(
    ("frame", "error", "code"),
    [
        (b"HELLO\n\n\0", "message:unknown command 'HELLO'", 1002),
        (
            b"CONNECT\naccept-version:9.9\n\n\0",
            "message:accept-version is '9.9', supported are 1.0,1.1,1.2\nversion:1.0,1.1,1.2",
            1002,
        ),
        (
            CONNECT + b"SUBSCRIBE\nid:0\ndestination:/queue/a\nreceipt:r\n\n\0",
            "message:SUBSCRIBE to unknown destination '/queue/a', known\\c "
            "/topic/market-data/{symbol}, /topic/bars/{interval}/{symbol}, /topic/signaling, "
            "/topic/status\nreceipt-id:r",
            4404,
        ),
        (
            CONNECT + b"SEND\ndestination:/topic/market-data/AAPL\n\n{}\0",
            "message:SEND to '/topic/market-data/AAPL' is forbidden, allowed is /app/...",
            4403,
        ),
    ],
)
async def test_an_error_is_the_last_frame_and_the_code_says_the_kind(
    frame: bytes, error: str, code: int
) -> None:
    async with live() as (address, _), connect(f"ws://{address}/ws", proxy=None) as websocket:
        await websocket.send(frame)
        if frame.startswith(CONNECT):
            await websocket.recv()
        assert await websocket.recv() == f"ERROR\n{error}\ncontent-length:0\n\n\0"
        await websocket.wait_closed()
        assert websocket.close_code == code


@pytest.mark.parametrize(
    ("offered", "selected"),
    [
        (["v10.stomp", "v11.stomp", "v12.stomp"], "v12.stomp"),
        (["v11.stomp", "v10.stomp"], "v11.stomp"),
        (["mqtt", "v10.stomp"], "v10.stomp"),
        (["mqtt"], None),
        (None, None),
    ],
)
async def test_the_newest_offered_subprotocol_is_selected(
    offered: list[str] | None, selected: str | None
) -> None:
    async with live() as (address, _):  # noqa: SIM117
        # The library refuses one that it did not offer.
        async with connect(
            f"ws://{address}/ws",
            subprotocols=offered,  # type: ignore[arg-type]
            proxy=None,
            open_timeout=TIMEOUT_S,
        ) as websocket:
            assert websocket.subprotocol == selected
