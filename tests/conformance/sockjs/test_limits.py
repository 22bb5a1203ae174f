"""Delays, bounds, origins and mistakes: nothing is kept, and nobody else notices."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable

import pytest
import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway.clients.connection import Connection, NotText
from gateway.clients.outbox import DEFAULT_HIGH_WATER_BYTES, DEFAULT_MAX_BUFFERED_BYTES, BufferFull
from tests.conformance.sockjs.client import TIMEOUT_S, Client
from tests.conformance.sockjs.harness import BRISK, Harness


def new_session(base: str = "/brisk") -> str:
    return f"{base}/000/{uuid.uuid4()}"


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110  the condition is the server's
            await asyncio.sleep(0.001)


# Delays


async def test_a_session_without_a_receiver_is_discarded(client: Client, harness: Harness) -> None:
    url = new_session()
    assert await client.post_body(f"{url}/xhr") == "o\n"
    await until(lambda: bool(harness.handlers[0].closed))
    assert harness.handlers[0].closed == [(1002, "Connection interrupted")]
    assert harness.brisk.session_count == 0
    assert (await client.post(f"{url}/xhr_send", '["a"]')).status == 404
    # The id is free again.
    assert await client.post_body(f"{url}/xhr") == "o\n"


async def test_an_idle_poll_ends_with_a_heartbeat(client: Client) -> None:
    url = new_session()
    assert await client.post_body(f"{url}/xhr") == "o\n"
    assert await client.post_body(f"{url}/xhr") == "h\n"


async def test_an_idle_stream_gets_heartbeats_and_lives_on(client: Client) -> None:
    url = new_session()
    stream = await client.post(f"{url}/xhr_streaming")
    await stream.chunk()
    # Longer than the disconnect delay.
    assert [await stream.chunk() for _ in range(4)] == ["o\n", "h\n", "h\n", "h\n"]
    await client.send(url, '["a"]')
    assert await stream.chunk() == 'a["a"]\n'


async def test_an_idle_websocket_gets_heartbeats(ws_url: str) -> None:
    async with connect(f"{ws_url}/brisk/0/0/websocket") as websocket:
        assert [await websocket.recv() for _ in range(3)] == ["o", "h", "h"]


async def test_heartbeats_stop_when_the_protocol_above_has_its_own(
    ws_url: str, harness: Harness
) -> None:
    async with connect(f"{ws_url}/brisk/0/0/websocket") as websocket:
        assert await websocket.recv() == "o"
        connection = harness.handlers[0].connection
        assert connection is not None
        connection.suppress_heartbeats()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(BRISK.heartbeat_s * 3):
                await websocket.recv()
        await websocket.send('["a"]')
        assert await websocket.recv() == 'a["a"]'


# Bounds


async def test_sessions_over_the_limit_are_told_to_come_back(
    client: Client, ws_url: str, harness: Harness
) -> None:
    streams = [await client.post(f"{new_session()}/xhr_streaming") for _ in range(2)]
    response = await client.post(f"{new_session()}/xhr")
    assert (response.status, response["retry-after"]) == (503, "5")
    with pytest.raises(InvalidStatus, match="503"):
        await connect(f"{ws_url}/brisk/0/0/websocket")
    assert harness.brisk.refused["too_many_sessions"] == 2
    streams[0].close()
    await until(lambda: harness.brisk.session_count < 2)
    assert await client.post_body(f"{new_session()}/xhr") == "o\n"


async def test_a_payload_over_the_limit_is_refused(client: Client, ws_url: str) -> None:
    url = new_session()
    assert await client.post_body(f"{url}/xhr") == "o\n"
    assert (await client.post(f"{url}/xhr_send", '["' + "x" * 996 + '"]')).status == 204
    assert (await client.post(f"{url}/xhr_send", '["' + "x" * 997 + '"]')).status == 413
    async with connect(f"{ws_url}/brisk/0/0/websocket") as websocket:
        assert await websocket.recv() == "o"
        await websocket.send('["' + "x" * 997 + '"]')
        with pytest.raises(ConnectionClosed) as caught:
            await websocket.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1009


async def test_a_payload_that_does_not_come_in_time_is_refused(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.sockjs.app.BODY_TIMEOUT_S", 0.05)
    url = new_session("/echo")
    assert await client.post_body(f"{url}/xhr") == "o\n"
    # The length is announced for a body that never comes.
    response = await client.post(f"{url}/xhr_send", None, Content_Length="10")
    assert response.status == 408


async def test_a_sender_that_goes_away_in_the_middle_changes_nothing(
    client: Client, harness: Harness
) -> None:
    url = new_session("/echo")
    assert await client.post_body(f"{url}/xhr") == "o\n"
    sender = await client.connect()
    sender.write(f'POST {url}/xhr_send HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n["'.encode())
    sender.close()
    await client.send(url, '["a"]')
    assert await client.post_body(f"{url}/xhr") == 'a["a"]\n'
    assert harness.handlers[0].messages == ["a"]


async def test_an_endless_id_is_not_found(client: Client) -> None:
    assert (await client.post(f"/echo/0/{'a' * 257}/xhr")).status == 404


@pytest.mark.parametrize("path", ["/echo/0/0/websocket", "/echo/websocket"])
async def test_a_client_that_does_not_read_fills_its_own_buffer_only(
    ws_url: str, harness: Harness, path: str
) -> None:
    # The client's library stops reading from the socket when a few messages wait.
    async with (
        connect(ws_url + path, max_queue=1, compression=None, close_timeout=0.1) as stuck,
        connect(ws_url + path) as other,
    ):
        await until(lambda: len(harness.handlers) == 2)
        # Which of the two the server took first is its own business.
        await other.send('["hello"]')
        await until(lambda: any(handler.messages for handler in harness.handlers))
        handler = next(handler for handler in harness.handlers if not handler.messages)
        connection = handler.connection
        assert connection is not None
        await fill(connection)
        assert not connection.writable
        assert connection.buffered_bytes <= DEFAULT_MAX_BUFFERED_BYTES
        await other.send('["still there"]')
        await until(lambda: any(len(each.messages) == 2 for each in harness.handlers))
        # It reads again, and the handler is told so.
        reading = asyncio.create_task(drain(stuck))
        await until(lambda: handler.drained)
        assert connection.writable
        reading.cancel()
        # Closing does not depend on the client.
        connection.close(4000, "slow")
        await until(lambda: handler.closed)


async def test_a_polling_client_that_caught_up_is_writable_again(
    client: Client, harness: Harness
) -> None:
    url = new_session("/echo")
    assert await client.post_body(f"{url}/xhr") == "o\n"
    handler = harness.handlers[0]
    assert handler.connection is not None
    handler.connection.send_nowait("x" * DEFAULT_HIGH_WATER_BYTES)
    assert not handler.connection.writable
    assert len(await client.post_body(f"{url}/xhr")) > DEFAULT_HIGH_WATER_BYTES
    assert handler.connection.writable
    assert handler.drained == 1


async def fill(connection: Connection) -> None:
    try:
        for _ in range(100_000):
            connection.send_nowait("x" * 10_000)
            await asyncio.sleep(0)
    except BufferFull:
        return
    pytest.fail("the buffer never got full")


async def drain(websocket: ClientConnection) -> None:
    async for _ in websocket:
        pass


async def test_a_client_that_does_not_read_is_given_up_when_closed(
    client: Client, harness: Harness
) -> None:
    stream = await client.post(f"{new_session()}/xhr_streaming")
    assert stream.status == 200
    connection = harness.handlers[0].connection
    assert connection is not None
    await fill(connection)
    connection.close(4000, "slow")
    await until(lambda: harness.brisk.session_count == 0)
    assert harness.handlers[0].closed == [(4000, "slow")]


async def test_binary_that_is_text_goes_as_text_over_sockjs(ws_url: str, harness: Harness) -> None:
    async with connect(f"{ws_url}/echo/0/0/websocket") as websocket:
        assert await websocket.recv() == "o"
        connection = harness.handlers[0].connection
        assert connection is not None
        connection.send_nowait("grüß".encode())
        assert await websocket.recv() == 'a["grüß"]'
        with pytest.raises(NotText):
            connection.send_nowait(b"\xff")


# Origins


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "https://good.example"}, 200),
        ({"Origin": "https://bad.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "same-origin"}, 200),
        ({"Sec_Fetch_Site": "cross-site", "Referer": "https://good.example/page"}, 200),
        ({"Sec_Fetch_Site": "cross-site", "Referer": "https://bad.example/page"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Referer": "https://[bad"}, 403),
    ],
)
async def test_pages_of_another_origin_are_refused(
    client: Client, harness: Harness, headers: dict[str, str], status: int
) -> None:
    session = f"/choosy/0/{uuid.uuid4()}"
    assert (await client.get(f"{session}/jsonp?c=x", **headers)).status == status
    assert (await client.get("/choosy/info", **headers)).status == status
    assert harness.services["/choosy"].refused["origin"] == (2 if status == 403 else 0)


# Mistakes and the end


async def test_a_handler_that_fails_ends_its_own_session_only(
    client: Client, harness: Harness
) -> None:
    url = new_session("/broken")
    assert await client.post_body(f"{url}/xhr") == "o\n"
    with structlog.testing.capture_logs() as logs:
        await client.send(url, '["a"]')
    assert [log["event"] for log in logs if log["log_level"] == "error"] == [
        "connection_handler_failed"
    ]
    assert await client.post_body(f"{url}/xhr") == 'c[1011,"Internal error"]\n'
    assert harness.handlers[0].closed == [(1011, "Internal error")]


async def test_stopping_closes_every_session_and_takes_no_more(
    client: Client, ws_url: str, harness: Harness
) -> None:
    stream = await client.post(f"{new_session('/echo')}/xhr_streaming")
    await stream.frame(2)
    async with connect(f"{ws_url}/echo/0/0/websocket") as websocket:
        assert await websocket.recv() == "o"
        harness.echo.stop()
        assert await websocket.recv() == 'c[3000,"Go away!"]'
    assert await stream.chunk() == 'c[3000,"Go away!"]\n'
    assert await stream.chunk() == ""
    assert (await client.post(f"{new_session('/echo')}/xhr")).status == 503


async def test_sessions_that_come_and_go_leave_nothing_behind(
    client: Client, ws_url: str, harness: Harness
) -> None:
    before = asyncio.all_tasks()
    for number in range(5):
        stream = await client.post(f"/brisk/0/{number}/xhr_streaming")
        await stream.frame(2)
        stream.close()
        async with connect(f"{ws_url}/brisk/0/0/websocket") as websocket:
            assert await websocket.recv() == "o"
        await until(lambda: harness.brisk.session_count == 0)
    await until(lambda: asyncio.all_tasks() <= before)
    assert len(harness.handlers) == 10
    assert all(len(handler.closed) == 1 for handler in harness.handlers)
