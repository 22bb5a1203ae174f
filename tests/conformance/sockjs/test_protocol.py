"""sockjs-protocol 0.3.3: SessionURLs, Protocol, JSONEncoding, HandlingClose, Http10, Http11."""

from __future__ import annotations

import asyncio
import json
import uuid

import pytest

from tests.conformance.sockjs.client import Client, Response
from tests.conformance.sockjs.harness import Harness

OPEN = "o\n"
GO_AWAY = 'c[3000,"Go away!"]\n'
ANOTHER = 'c[2010,"Another connection still open"]\n'
INTERRUPTED = 'c[1002,"Connection interrupted"]\n'


def new_session(base: str = "/echo") -> str:
    return f"{base}/000/{uuid.uuid4()}"


async def open_stream(client: Client, url: str) -> Response:
    response = await client.post(f"{url}/xhr_streaming")
    assert await response.chunk() == "h" * 2048 + "\n"
    return response


# Session URLs


@pytest.mark.parametrize("part", ["/a/a", "/_/_", "/1/1", "/abcdefgh_i-j%20/abcdefg_i-j%20"])
async def test_any_value_names_a_server_and_a_session(client: Client, part: str) -> None:
    assert await client.post_body(f"/echo{part}/xhr") == OPEN


@pytest.mark.parametrize("part", ["//", "/a./a", "/a/a.", "/./.", "/", "///"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_empty_parts_and_dots_are_not_found(client: Client, part: str, method: str) -> None:
    assert (await client.request(method, f"/echo{part}/xhr")).status == 404


async def test_the_server_part_does_not_select_the_session(client: Client) -> None:
    session = str(uuid.uuid4())
    assert await client.post_body(f"/echo/000/{session}/xhr") == OPEN
    await client.send(f"/echo/000/{session}", '["a"]')
    assert await client.post_body(f"/echo/999/{session}/xhr") == 'a["a"]\n'


# Protocol


async def test_a_session_opens_and_echoes(client: Client) -> None:
    url = new_session()
    assert await client.post_body(f"{url}/xhr") == OPEN
    await client.send(url, '["a"]')
    assert await client.post_body(f"{url}/xhr") == 'a["a"]\n'


async def test_a_message_to_an_unknown_session_is_not_found(client: Client) -> None:
    assert (await client.post("/echo/000/bad_session/xhr_send", '["a"]')).status == 404


async def test_a_second_receiver_is_turned_away(client: Client, harness: Harness) -> None:
    url = new_session()
    assert await client.post_body(f"{url}/xhr") == OPEN
    stream = await open_stream(client, url)
    assert await client.post_body(f"{url}/xhr") == ANOTHER
    await client.send(url, '["first"]')
    assert await stream.chunk() == 'a["first"]\n'


async def test_a_closed_session_keeps_saying_so(client: Client) -> None:
    url = new_session("/close")
    assert await client.post_body(f"{url}/xhr") == OPEN
    assert await client.post_body(f"{url}/xhr") == GO_AWAY
    assert await client.post_body(f"{url}/xhr") == GO_AWAY


# JSON encoding

SERVER_KILLERS = "".join(
    chr(code)
    for first, last in [(0x200C, 0x200F), (0x2028, 0x202F), (0x2060, 0x206F), (0xFFF0, 0xFFFF)]
    for code in range(first, last + 1)
)
# Every character below the surrogates and above them, escaped as careful clients do.
CLIENT_ESCAPED = [*range(0xD800), *range(0xE000, 0x10000)]


async def test_the_server_escapes_what_browsers_garble(client: Client) -> None:
    url = new_session()
    assert await client.post_body(f"{url}/xhr") == OPEN
    await client.send(url, json.dumps([SERVER_KILLERS], ensure_ascii=False))
    escaped = "".join(f"\\u{ord(character):04x}" for character in SERVER_KILLERS)
    assert await client.post_body(f"{url}/xhr") == f'a["{escaped}"]\n'


async def test_the_server_decodes_what_clients_escape(client: Client) -> None:
    url = new_session()
    assert await client.post_body(f"{url}/xhr") == OPEN
    for start in range(0, len(CLIENT_ESCAPED), 8192):
        codes = CLIENT_ESCAPED[start : start + 8192]
        payload = '["' + "".join(f"\\u{code:04x}" for code in codes) + '"]'
        await client.send(url, payload)
        received = await client.post_body(f"{url}/xhr")
        assert json.loads(received[1:]) == ["".join(map(chr, codes))]


# Handling close


async def test_a_closing_session_tells_a_new_receiver_why(client: Client) -> None:
    url = new_session("/close")
    first = await open_stream(client, url)
    assert await first.frame(2) == OPEN + GO_AWAY
    second = await open_stream(client, url)
    assert await second.chunk() == GO_AWAY
    assert await first.chunk() == ""
    assert await second.chunk() == ""


async def test_a_stream_turned_away_ends(client: Client) -> None:
    url = new_session()
    first = await open_stream(client, url)
    assert await first.chunk() == OPEN
    second = await open_stream(client, url)
    assert await second.chunk() == ANOTHER
    assert await second.chunk() == ""


async def test_an_aborted_stream_ends_the_session(client: Client, harness: Harness) -> None:
    url = new_session()
    first = await open_stream(client, url)
    assert await first.chunk() == OPEN
    first.close()
    while not harness.handlers[0].closed:
        # A POST is a round trip through the server, so this waits for the server alone.
        await client.get_body("/echo")
    third = await open_stream(client, url)
    assert await third.chunk() == INTERRUPTED
    assert harness.handlers[0].closed == [(1002, "Connection interrupted")]


async def test_an_aborted_poll_ends_the_session(client: Client, harness: Harness) -> None:
    url = new_session()
    assert await client.post_body(f"{url}/xhr") == OPEN
    poll = await client.connect()
    poll.write(f"POST {url}/xhr HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
    while await client.post_body(f"{url}/xhr") != ANOTHER:
        pass
    poll.close()
    while not harness.handlers[0].closed:
        await client.get_body("/echo")
    assert await client.post_body(f"{url}/xhr") == INTERRUPTED


@pytest.mark.parametrize("turns", [0, 1, 2, 5])
async def test_a_poll_right_after_an_aborted_one_is_not_another_connection(
    client: Client, turns: int
) -> None:
    url = new_session()
    assert await client.post_body(f"{url}/xhr") == OPEN
    poll, second = await client.connect(), await client.connect()
    request = f"POST {url}/xhr HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
    poll.write(request)
    while await client.post_body(f"{url}/xhr") != ANOTHER:
        pass
    poll.close()
    for _ in range(turns):
        await asyncio.sleep(0)
    # The server may hear this first: the two connections have no order.
    response = await second.request("POST", f"{url}/xhr", b"")
    assert await response.body() == INTERRUPTED


# HTTP 1.0 and 1.1


async def test_http_10_gets_a_length_and_no_chunks(client: Client) -> None:
    connection = await client.connect()
    response = await connection.request("GET", "/echo", version="1.0", Connection="Keep-Alive")
    assert response.status == 200
    assert response["transfer-encoding"] is None
    assert response["content-length"] == "19"
    assert await response.body() == "Welcome to SockJS!\n"
    if (response["connection"] or "close").lower() == "close":
        assert await connection.at_eof()


async def test_an_http_10_stream_ends_with_its_connection(client: Client) -> None:
    connection = await client.connect()
    url = new_session("/close")
    response = await connection.request("POST", f"{url}/xhr_streaming", b"", version="1.0")
    assert response.status == 200
    assert response["transfer-encoding"] is None
    assert response["content-length"] is None
    assert await response.body() == "h" * 2048 + "\n" + OPEN + GO_AWAY


async def test_an_http_11_connection_serves_more_than_one_request(client: Client) -> None:
    connection = await client.connect()
    for _ in range(2):
        response = await connection.request("GET", "/echo")
        assert (response["connection"] or "keep-alive").lower() == "keep-alive"
        assert response["content-length"] == "19"
        assert await response.body() == "Welcome to SockJS!\n"


async def test_an_http_11_stream_is_chunked(client: Client) -> None:
    connection = await client.connect()
    response = await connection.request("POST", f"{new_session('/close')}/xhr_streaming", b"")
    assert response["transfer-encoding"] == "chunked"
    assert response["content-length"] is None
    assert [await response.chunk() for _ in range(4)] == ["h" * 2048 + "\n", OPEN, GO_AWAY, ""]
    assert (await connection.request("GET", "/echo")).status == 200
