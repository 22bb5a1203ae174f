"""A gateway of several processes is one gateway."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from uuid import uuid4

import orjson
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect

from tests.doubles.processes import TIMEOUT_S
from tests.doubles.signaling import SIGNALING, offer, send_signal, senders
from tests.doubles.stomp import StompClient
from tests.doubles.workers import (
    HttpConnection,
    Workers,
    connection_to,
    open_session,
    run_workers,
    session_of_another,
)

# They start for seconds, so all tests here have the same ones.
pytestmark = pytest.mark.asyncio(loop_scope="module")
COUNT = 3


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers() -> AsyncIterator[Workers]:
    async with run_workers(COUNT, GATEWAY_SIGNAL_RATE="1000") as workers:
        yield workers
        assert await workers.service.stop() == 0


def new_symbol() -> str:
    """Return one of which no worker knows anything."""
    return f"S{uuid4().hex[:12].upper()}"


async def until_clients(workers: Workers, expected: list[int]) -> None:
    """Wait until each worker has so many; sessions of SockJS of the test before may still end."""
    async with asyncio.timeout(TIMEOUT_S):
        # They end when their time has come, and tell nobody.
        while expected != await clients_of(workers):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def clients_of(workers: Workers) -> list[int]:
    return [each["clients"] for each in (await workers.status())["gateway"]["workers"]]


async def test_connections_spread_and_every_door_is_at_every_worker(workers: Workers) -> None:
    symbol = new_symbol()
    await workers.feed.price(symbol, 10.0)
    answered = set()
    for _ in range(64):
        async with connection_to(workers) as connection:
            answered.add(await connection.worker())
    # That all of 64 go past one of three happens once in 10**11.
    assert answered == set(range(COUNT))
    async with contextlib.AsyncExitStack() as stack:
        streams, sockets, sessions = [], [], []
        for worker in range(COUNT):
            http = await stack.enter_async_context(connection_to(workers, worker))
            answer = await http.get(f"/api/v1/marketdata/{symbol}")
            assert orjson.loads(answer.body)["close"] == 10.0
            request = f"GET /api/v1/stream?symbols={symbol} HTTP/1.1\r\nHost: x\r\n\r\n"
            await http.write(request.encode())
            streams.append(http)
            raw = await workers.connect(worker)
            url = f"ws://{workers.address}/ws/marketdata?symbol={symbol}"
            websocket = connect(url, sock=raw.sock, proxy=None, compression=None)
            sockets.append(await stack.enter_async_context(websocket))
            client = await stack.enter_async_context(workers.stomp(worker))
            await client.subscribe(f"/topic/market-data/{symbol}")
            sessions.append(client)
        for price in ("10.0", "11.5"):
            if price != "10.0":
                await workers.feed.price(symbol, float(price))
            for stream in streams:
                await stream.read_until(f'"close":{price}'.encode())
            for each in sockets:
                assert f'"close":{price}' in str(await asyncio.wait_for(each.recv(), TIMEOUT_S))
            for client in sessions:
                assert (await client.next()).json["close"] == float(price)
        await until_clients(workers, [3] * COUNT)
        status = (await workers.status())["gateway"]
        assert status["clients"] == 3 * COUNT
        assert [each["worker"] for each in status["workers"]] == list(range(COUNT))


async def test_a_stream_that_its_client_leaves_ends_the_session_at_its_owner(
    workers: Workers,
) -> None:
    session = await session_of_another(workers, 0)
    url = f"/ws/0/{session}"
    async with connection_to(workers, 0) as connection:
        head = f"POST {url}/xhr_streaming HTTP/1.1\r\nHost: x\r\nContent-Length: 0"
        await connection.write(f"{head}\r\n\r\n".encode())
        await connection.read_until(b"o\n")
        async with connection_to(workers, 0) as other:
            await other.post(f"{url}/xhr_send", b"[]")
            home = await other.worker()
        assert home != 0
        await until_clients(workers, [int(worker == home) for worker in range(COUNT)])
    await until_clients(workers, [0] * COUNT)


# Signaling


async def test_every_subscriber_of_every_worker_gets_each_signal_once_and_in_order(
    workers: Workers,
) -> None:
    each = 20
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(workers.stomp(worker)) for worker in [0, 0, 1, 1, 2]
        ]
        for client in clients:
            await client.subscribe(SIGNALING)

        async def send_all(name: str, client: StompClient) -> None:
            for number in range(each):
                await send_signal(client, offer(name, number), x_mark=f"{name}:ü")

        names = [f"peer {number}" for number in range(len(clients))]
        await asyncio.gather(*map(send_all, names, clients))
        for client in clients:
            frames = await client.messages(each * len(clients))
            assert senders(frames) == {
                name: [f"v=0 {number}" for number in range(each)] for name in names
            }
            for frame in frames:
                assert frame["x-mark"] == f"{frame.json['senderId']}:ü"
                assert frame["content-type"] == "application/json"
        # No more than that: what comes next is new.
        await send_signal(clients[0], offer("last", 0))
        for client in clients:
            assert (await client.next()).json["senderId"] == "last"


async def test_one_worker_answers_an_offer_to_the_gateway(workers: Workers) -> None:
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(workers.stomp(worker)) for worker in range(3)]
        for client in clients:
            await client.subscribe(SIGNALING)
        # One that cannot be used has one answer, to its sender.
        await send_signal(clients[1], offer("ann", 0, targetId="gateway"))
        assert [frame.json["type"] for frame in await clients[1].messages(2)] == ["OFFER", "ERROR"]
        await send_signal(clients[1], offer("ann", 1, targetId="bob"))
        for client in clients:
            if client is not clients[1]:
                assert (await client.next()).json["targetId"] == "gateway"
            assert (await client.next()).json["targetId"] == "bob"


# SockJS over HTTP


def stomp_frame(text: str) -> bytes:
    return orjson.dumps([text + "\0"])


async def connect_stomp(poll: HttpConnection, send: HttpConnection, url: str) -> None:
    answer = await send.post(f"{url}/xhr_send", stomp_frame("CONNECT\naccept-version:1.2\n\n"))
    assert answer.status == 204
    assert b"CONNECTED" in (await poll.post(f"{url}/xhr")).body


async def test_requests_of_a_session_may_land_at_any_worker(workers: Workers) -> None:
    for number in range(12):
        session = uuid4().hex
        url = f"/ws/0/{session}"
        # Each request over a connection of its own, one after the other to every worker.
        connections = [await open_session(workers, session, number % 3)]
        for worker in range(3):
            connections.append(await workers.connect(worker))
            connections.append(await workers.connect(worker))
        await connect_stomp(connections[1], connections[2], url)
        for step, (poll, send) in enumerate([(3, 4), (5, 6), (6, 5), (2, 0)]):
            frame = f"SUBSCRIBE\nid:{step}\nreceipt:r{step}\ndestination:{SIGNALING}\n\n"
            sent = await connections[send].post(f"{url}/xhr_send", stomp_frame(frame))
            assert sent.status == 204
            answer = await connections[poll].post(f"{url}/xhr")
            assert f"receipt-id:r{step}".encode() in answer.body
        # They are all at home now, and serve everything as ever.
        homes = {await connection.worker() for connection in connections}
        assert len(homes) == 1
        for connection in connections:
            connection.close()


async def test_an_unknown_session_is_404_everywhere(workers: Workers) -> None:
    for worker in range(COUNT):
        async with connection_to(workers, worker) as connection:
            for _ in range(6):
                answer = await connection.post(f"/ws/0/{uuid4().hex}/xhr_send", b'["x"]')
                assert answer.status == 404


async def test_a_request_that_comes_in_pieces_goes_to_its_owner_whole(workers: Workers) -> None:
    session = await session_of_another(workers, 0)
    (await open_session(workers, session, 0)).close()
    url = f"/ws/0/{session}"
    body = stomp_frame("CONNECT\naccept-version:1.2\nx:" + "ü" * 3000 + "\n\n")
    head = f"POST {url}/xhr_send HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    async with connection_to(workers, 0) as connection:
        for piece in (head[:3], head[3:20], head[20:-9], head[-9:-1], head[-1:]):
            await connection.write(piece.encode())
            # Time for it to arrive alone; were it not to, the test would show less.
            await asyncio.sleep(0.02)
        await connection.write(body[:100])
        await asyncio.sleep(0.02)
        await connection.write(body[100:])
        assert (await connection.answer()).status == 204
        assert b"CONNECTED" in (await connection.post(f"{url}/xhr")).body


async def test_a_large_body_goes_along(workers: Workers) -> None:
    session = await session_of_another(workers, 0)
    (await open_session(workers, session, 0)).close()
    frame = stomp_frame(f"SEND\ndestination:/app/none\n\n{'x' * 450_000}")
    for _ in range(4):
        async with connection_to(workers, 0) as connection:
            answer = await connection.post(f"/ws/0/{session}/xhr_send", frame)
            assert answer.status == 204
            assert await connection.worker() != 0


async def test_requests_in_a_row_are_answered_in_order_by_who_they_are_for(
    workers: Workers,
) -> None:
    session = await session_of_another(workers, 0)
    (await open_session(workers, session, 0)).close()
    async with connection_to(workers, 0) as connection:
        status = b"GET /api/v1/status HTTP/1.1\r\nHost: x\r\n\r\n"
        send = f"POST /ws/0/{session}/xhr_send HTTP/1.1\r\nHost: x\r\nContent-Length: "
        broken = f"{send}1\r\n\r\n[".encode()
        await connection.write(status + broken + status)
        first, second, third = [await connection.answer() for _ in range(3)]
        assert orjson.loads(first.body)["gateway"]["worker"] == 0
        assert second.status == 500
        assert orjson.loads(third.body)["gateway"]["worker"] != 0


# Coming back


async def test_who_comes_back_to_another_worker_misses_nothing_if_that_followed_the_symbol(
    workers: Workers,
) -> None:
    symbol = new_symbol()
    await workers.feed.price(symbol, 1.0)
    async with workers.stomp(1) as follower:
        await follower.subscribe(f"/topic/market-data/{symbol}")
        await follower.next()
        async with workers.stomp(0) as client:
            await client.subscribe(f"/topic/market-data/{symbol}")
            seen = await client.next()
        await workers.feed.price(symbol, 2.0, 3.0, 4.0)
        while (await follower.next()).json["close"] != 4.0:
            pass
        left = {"last_sequence": seen["sequence"], "epoch": seen["epoch"]}
        async with workers.stomp(1) as client:
            await client.subscribe(f"/topic/market-data/{symbol}", policy="buffer", **left)
            missed = await client.messages(3)
            assert [frame.json["close"] for frame in missed] == [2.0, 3.0, 4.0]
            assert [frame["recovered"] for frame in missed] == ["true"] * 3


async def test_who_comes_back_to_a_worker_that_did_not_follow_is_told_so(workers: Workers) -> None:
    symbol = new_symbol()
    await workers.feed.price(symbol, 1.0)
    async with workers.stomp(0) as client:
        await client.subscribe(f"/topic/market-data/{symbol}")
        seen = await client.next()
    left = {"last_sequence": seen["sequence"], "epoch": seen["epoch"]}
    await workers.feed.price(symbol, 2.0, 3.0)
    async with workers.stomp(1) as client:
        await client.subscribe(f"/topic/market-data/{symbol}", **left)
        frame = await client.next()
        assert (frame.json["close"], frame["recovered"]) == (3.0, "false")
