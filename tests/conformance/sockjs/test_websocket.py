"""sockjs-protocol 0.3.3: WebsocketHttpErrors, Websocket, RawWebsocket; and RFC 6455."""

from __future__ import annotations

import asyncio
import json
import os
import struct
import uuid

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from tests.conformance.sockjs.client import TIMEOUT_S, Client, HttpConnection
from tests.conformance.sockjs.harness import Harness

KEY = {"Sec_WebSocket_Version": "13", "Sec_WebSocket_Key": "x3JJHMbDL1EzLkh9GBhXDw=="}
UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade"}


def session_url(ws_url: str, base: str = "/echo") -> str:
    return f"{ws_url}{base}/000/{uuid.uuid4()}/websocket"


async def receive(websocket: ClientConnection) -> str | bytes:
    async with asyncio.timeout(TIMEOUT_S):
        return await websocket.recv()


async def close_of(websocket: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as caught:
        await receive(websocket)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


# What is no handshake


@pytest.mark.parametrize("path", ["/echo/0/0/websocket", "/echo/websocket"])
async def test_a_plain_get_cannot_be_a_websocket(client: Client, path: str) -> None:
    response = await client.get(path)
    assert response.status == 400
    assert 'Can "Upgrade" only to "WebSocket".' in await response.body()


async def test_the_connection_header_must_say_upgrade(client: Client) -> None:
    response = await client.get("/echo/0/0/websocket", Upgrade="WebSocket", Connection="close")
    assert response.status == 400
    assert '"Connection" must be "Upgrade".' in await response.body()


@pytest.mark.parametrize("headers", [{}, {"Upgrade": "WebSocket", "Connection": "close"}])
async def test_a_websocket_takes_only_get(client: Client, headers: dict[str, str]) -> None:
    response = await client.post("/echo/0/0/websocket", **headers)
    assert response.status == 405
    assert response["content-type"] is None
    assert response["allow"] == "GET"
    assert await response.body() == ""


async def test_a_handshake_takes_only_get(client: Client) -> None:
    # Answered below us, by the websockets library, which also says why.
    response = await client.post("/echo/0/0/websocket", **UPGRADE)
    assert (response.status, response["allow"]) == (405, "GET")


async def test_a_service_without_websocket_does_not_know_the_address(client: Client) -> None:
    assert (await client.get("/disabled_websocket_echo/0/0/websocket")).status == 404
    headers = UPGRADE | KEY
    response = await client.get("/disabled_websocket_echo/0/0/websocket", **headers)
    assert response.status == 404


# The handshake


@pytest.mark.parametrize("connection", ["Upgrade", "keep-alive, Upgrade"])
async def test_the_handshake_is_that_of_rfc_6455(client: Client, connection: str) -> None:
    headers = KEY | {"Upgrade": "websocket", "Connection": connection}
    response = await client.get(f"/echo/000/{uuid.uuid4()}/websocket", **headers)
    assert response.status == 101
    assert response["sec-websocket-accept"] == "HSmrc0sMlYUkAGmm5OPpG2HaGWk="
    assert (response["connection"] or "").lower() == "upgrade"
    assert (response["upgrade"] or "").lower() == "websocket"
    assert response["content-length"] is None


OFFERS = [
    (["v12.stomp"], "v12.stomp"),
    (["v10.stomp", "v11.stomp"], "v11.stomp"),
    (["other", "v10.stomp"], "v10.stomp"),
    (["other"], None),
    (None, None),
]


@pytest.mark.parametrize("path", ["/echo", "/echo/websocket", "/echo/0/0/websocket"])
@pytest.mark.parametrize(("offered", "selected"), OFFERS)
async def test_one_of_the_offered_subprotocols_is_selected_or_none(
    client: Client, path: str, offered: list[str] | None, selected: str | None
) -> None:
    headers = UPGRADE | KEY
    if offered is not None:
        headers["Sec_WebSocket_Protocol"] = ", ".join(offered)
    response = await client.get(path, **headers)
    assert response.status == 101
    assert response["sec-websocket-protocol"] == selected


ORIGINS = [("https://good.example", 101), ("https://bad.example", 403), ("null", 403), (None, 101)]


@pytest.mark.parametrize("path", ["/choosy", "/choosy/websocket", "/choosy/0/0/websocket"])
@pytest.mark.parametrize(("origin", "status"), ORIGINS)
async def test_a_websocket_of_another_origin_is_refused(
    client: Client, path: str, origin: str | None, status: int
) -> None:
    headers = UPGRADE | KEY | ({"Origin": origin} if origin else {})
    assert (await client.get(path, **headers)).status == status


# SockJS over WebSocket


async def test_a_websocket_session_opens_and_echoes(ws_url: str) -> None:
    async with connect(session_url(ws_url)) as websocket:
        assert await receive(websocket) == "o"
        # "Server must ignore empty messages."
        await websocket.send("")
        await websocket.send('["a"]')
        assert await receive(websocket) == 'a["a"]'
        # "Either single json-encoded messages or an array of json-encoded messages."
        await websocket.send('"b"')
        assert await receive(websocket) == 'a["b"]'
        await websocket.send(b'["c"]')
        assert await receive(websocket) == 'a["c"]'


async def test_a_closed_session_closes_its_websocket(ws_url: str) -> None:
    async with connect(session_url(ws_url, "/close")) as websocket:
        assert await receive(websocket) == "o"
        assert await receive(websocket) == 'c[3000,"Go away!"]'
        assert await close_of(websocket) == (3000, "Go away!")


async def test_a_code_that_no_close_frame_may_carry_becomes_1000(ws_url: str) -> None:
    async with connect(session_url(ws_url)) as websocket:
        assert await receive(websocket) == "o"
        await websocket.send(json.dumps(["close 2010 " + "ü" * 100]))
        assert await receive(websocket) == f'c[2010,"{"ü" * 100}"]'
        assert await close_of(websocket) == (1000, "ü" * 61)


async def test_what_was_sent_before_a_close_arrives_before_it(ws_url: str) -> None:
    async with connect(session_url(ws_url)) as websocket:
        assert await receive(websocket) == "o"
        await websocket.send('["last words","close 1002 bad frame"]')
        assert await receive(websocket) == 'a["last words"]'
        assert await receive(websocket) == 'c[1002,"bad frame"]'
        assert await close_of(websocket) == (1002, "bad frame")


@pytest.mark.parametrize("payload", ['["a', "{}", "[1]", b"\xff"])
async def test_broken_data_closes_the_websocket(
    ws_url: str, harness: Harness, payload: str | bytes
) -> None:
    async with connect(session_url(ws_url)) as websocket:
        assert await receive(websocket) == "o"
        await websocket.send(payload)
        assert (await close_of(websocket))[0] == 1007
    assert [code for code, _ in harness.handlers[0].closed] == [1007]


async def test_websocket_sessions_may_share_an_id(ws_url: str) -> None:
    url = session_url(ws_url)
    async with connect(url) as first, connect(url) as second:
        assert [await receive(first), await receive(second)] == ["o", "o"]
        await first.send('["a"]')
        await second.send('["b"]')
        assert [await receive(first), await receive(second)] == ['a["a"]', 'a["b"]']
    async with connect(url) as third:
        assert await receive(third) == "o"


async def test_a_session_ends_with_its_websocket(ws_url: str, harness: Harness) -> None:
    async with connect(session_url(ws_url)) as websocket:
        assert await receive(websocket) == "o"
        assert harness.session_count == 1
        await websocket.close(4001, "had enough")
    async with asyncio.timeout(TIMEOUT_S):
        while not harness.handlers[0].closed:  # noqa: ASYNC110  the condition is the server's
            await asyncio.sleep(0)
    assert harness.handlers[0].closed == [(4001, "had enough")]
    assert harness.session_count == 0


# Raw WebSocket


@pytest.mark.parametrize("path", ["/echo", "/echo/websocket"])
async def test_a_raw_websocket_has_no_frames_of_ours(ws_url: str, path: str) -> None:
    async with connect(ws_url + path, subprotocols=[Subprotocol("v12.stomp")]) as websocket:
        await websocket.send("Hello world!\uffff")
        assert await receive(websocket) == "Hello world!\uffff"
        await websocket.send(b"\x00\xff")
        assert await receive(websocket) == b"\x00\xff"
        assert websocket.subprotocol == "v12.stomp"


async def test_a_raw_websocket_is_closed_by_the_application(ws_url: str) -> None:
    async with connect(f"{ws_url}/close/websocket") as websocket:
        assert await close_of(websocket) == (3000, "Go away!")


async def test_a_service_without_a_raw_websocket_does_not_know_it(ws_url: str) -> None:
    for path in ["/brisk", "/brisk/websocket", "/brisk/a/b/xhr", "/brisk/info"]:
        with pytest.raises(InvalidStatus, match="404"):
            await connect(ws_url + path)


# RFC 6455, frame by frame


async def open_raw(client: Client) -> HttpConnection:
    connection = await client.connect()
    response = await connection.request("GET", "/echo/websocket", **(UPGRADE | KEY))
    assert response.status == 101
    return connection


def client_frame(opcode: int, payload: bytes, *, final: bool = True, reserved: int = 0) -> bytes:
    assert len(payload) < 126
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    first = (0x80 if final else 0) | reserved | opcode
    return bytes([first, 0x80 | len(payload)]) + mask + masked


async def server_frame(connection: HttpConnection) -> tuple[int, bytes]:
    async with asyncio.timeout(TIMEOUT_S):
        first, length = await connection.reader.readexactly(2)
        return first & 0x0F, await connection.reader.readexactly(length)


async def close_code(connection: HttpConnection) -> int:
    opcode, payload = await server_frame(connection)
    assert opcode == 8
    return int(struct.unpack(">H", payload[:2])[0])


GOOD_CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
BAD_CODES = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999]


@pytest.mark.parametrize("code", GOOD_CODES)
async def test_a_close_code_is_echoed(client: Client, code: int) -> None:
    connection = await open_raw(client)
    connection.write(client_frame(8, struct.pack(">H", code)))
    assert await close_code(connection) in {code, 1000}


@pytest.mark.parametrize("code", BAD_CODES)
async def test_an_invalid_close_code_is_a_protocol_error(client: Client, code: int) -> None:
    connection = await open_raw(client)
    connection.write(client_frame(8, struct.pack(">H", code)))
    assert await close_code(connection) == 1002


# Their masks are random, so names that pytest makes of them would change from run to run.
@pytest.mark.parametrize(
    "frame",
    [client_frame(1, b"x", reserved=0x40), client_frame(3, b"")],
    ids=["reserved bit", "opcode"],
)
async def test_reserved_bits_and_opcodes_are_a_protocol_error(client: Client, frame: bytes) -> None:
    connection = await open_raw(client)
    connection.write(frame)
    assert await close_code(connection) == 1002


async def test_invalid_utf8_in_a_text_closes_with_1007(client: Client) -> None:
    connection = await open_raw(client)
    connection.write(client_frame(1, b"\xce\xba\xe1\xbd\xb9\xed\xa0\x80"))
    assert await close_code(connection) == 1007


async def test_a_ping_inside_a_fragmented_message_is_answered(client: Client) -> None:
    connection = await open_raw(client)
    connection.write(client_frame(1, "fragment ü".encode()[:-1], final=False))
    connection.write(client_frame(9, b"are you there"))
    assert await server_frame(connection) == (10, b"are you there")
    connection.write(client_frame(0, "fragment ü".encode()[-1:]))
    assert await server_frame(connection) == (1, "fragment ü".encode())
