"""A gateway of several processes is one gateway."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.doubles.processes import TIMEOUT_S, free_port, run_gateway
from tests.doubles.stomp import Frame, StompClient, open_stomp
from tests.doubles.workers import HttpConnection, Workers, run_workers
from tests.integration.gateway.live import feeding

SIGNALING = "/topic/signaling"


@contextlib.asynccontextmanager
async def connection_to(
    workers: Workers, worker: int | None = None
) -> AsyncIterator[HttpConnection]:
    with contextlib.closing(await workers.connect(worker)) as connection:
        yield connection


def offer(sender: str, number: int, **fields: object) -> str:
    known = {"type": "OFFER", "senderId": sender, "sdp": f"v=0 {number}"}
    return orjson.dumps(known | fields).decode()


async def send_signal(client: StompClient, body: str, **headers: str) -> None:
    await client.send("SEND", body, destination="/app/signal", **headers)


def senders(frames: list[Frame]) -> dict[str, list[str]]:
    """Return what each sender sent, in the order in which it came."""
    said: dict[str, list[str]] = {}
    for frame in frames:
        said.setdefault(frame.json["senderId"], []).append(frame.json["sdp"])
    return said


def unix_sockets() -> int:
    """Return how many sockets of workers the machine has."""
    return Path("/proc/net/unix").read_text().count("@marketdata-gateway-")


# Every door, at every worker


@pytest.mark.parametrize("count", [2, 3])
async def test_connections_spread_and_every_door_is_at_every_worker(count: int) -> None:
    async with run_workers(count) as workers:
        await workers.feed.price("AAPL", 10.0)
        answered = set()
        for _ in range(64):
            async with connection_to(workers) as connection:
                answered.add(await connection.worker())
        # That all of 64 go past one of three happens once in 10**11.
        assert answered == set(range(count))
        async with contextlib.AsyncExitStack() as stack:
            streams, sockets, sessions = [], [], []
            for worker in range(count):
                http = await stack.enter_async_context(connection_to(workers, worker))
                answer = await http.get("/api/v1/marketdata/AAPL")
                assert orjson.loads(answer.body)["close"] == 10.0
                await http.write(b"GET /api/v1/stream?symbols=AAPL HTTP/1.1\r\nHost: x\r\n\r\n")
                streams.append(http)
                raw = await workers.connect(worker)
                url = f"ws://{workers.address}/ws/marketdata?symbols=AAPL"
                websocket = connect(url, sock=raw.sock, proxy=None, compression=None)
                sockets.append(await stack.enter_async_context(websocket))
                client = await stack.enter_async_context(workers.stomp(worker))
                await client.subscribe("/topic/market-data/AAPL")
                sessions.append(client)
            for price in ("10.0", "11.5"):
                if price != "10.0":
                    await workers.feed.price("AAPL", float(price))
                for stream in streams:
                    await stream.read_until(f'"close":{price}'.encode())
                for each in sockets:
                    assert f'"close":{price}' in str(await each.recv())
                for client in sessions:
                    assert (await client.next()).json["close"] == float(price)
            status = (await workers.status())["gateway"]
            assert status["clients"] == 3 * count
            assert [each["clients"] for each in status["workers"]] == [3] * count
            assert [each["worker"] for each in status["workers"]] == list(range(count))
        assert await workers.service.stop() == 0


async def test_who_connects_first_finds_all_workers_ready() -> None:
    port = free_port()
    async with (
        feeding() as (aggregator, feed),
        run_gateway(aggregator, GATEWAY_WORKERS="3", GATEWAY_PORT=str(port)) as (service, _),
    ):
        workers = Workers(service, feed, port)
        # The first line that says so is the first moment at which anyone is let in.
        assert [line["workers"] for line in service.said("gateway listening")] == [3]
        said = (await workers.status())["gateway"]["workers"]
        assert [each["status"] for each in said] == ["ok"] * 3


async def test_nobody_is_let_in_before_all_are_ready() -> None:
    port = free_port()
    env = {"GATEWAY_WORKERS": "3", "GATEWAY_PORT": str(port)}
    async with feeding() as (aggregator, _):
        starting = asyncio.create_task(_first_status(port))
        async with run_gateway(aggregator, **env):
            status = await starting
            assert [each["status"] for each in status["gateway"]["workers"]] == ["ok"] * 3


async def _first_status(port: int) -> Any:
    # As a probe does, which tries until somebody listens.
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
                continue
            writer.write(b"GET /api/v1/status HTTP/1.0\r\n\r\n")
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            return orjson.loads(answer.partition(b"\r\n\r\n")[2])


# Signaling


async def test_every_subscriber_of_every_worker_gets_each_signal_once_and_in_order() -> None:
    each = 20
    async with (
        run_workers(3, GATEWAY_SIGNAL_RATE="1000") as workers,
        contextlib.AsyncExitStack() as stack,
    ):
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


async def test_one_worker_answers_an_offer_to_the_gateway() -> None:
    async with run_workers(3) as workers, contextlib.AsyncExitStack() as stack:
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


async def test_a_worker_that_stands_still_stops_nobody_and_its_clients_are_told() -> None:
    env = {"GATEWAY_SIGNAL_RATE": "100000", "GATEWAY_READY_TIMEOUT_S": "0.3"}
    async with run_workers(2, **env) as workers:
        stuck = workers.processes()[1]
        async with (
            workers.stomp(0) as here,
            workers.stomp(1) as there,
            # New connections that the kernel gives to the other one would wait for it.
            connection_to(workers, 0) as connection,
        ):
            await here.subscribe(SIGNALING)
            await there.subscribe(SIGNALING)
            stuck.suspend()
            try:
                # More than may wait for it.
                for number in range(300):
                    await send_signal(here, offer("ann", number, candidate=None, sdp="x" * 64_000))
                    assert (await here.next()).json["senderId"] == "ann"
                status = orjson.loads((await connection.get("/api/v1/status")).body)
                assert status["status"] == "degraded"
                said = [one["status"] for one in status["gateway"]["workers"]]
                assert said == ["ok", "no answer"]
            finally:
                stuck.resume()
            # It had no place for all that came in one go, or there was more than that.
            assert (await there.wait_closed())[0] in (4490, 1011)
            # Who comes back has what comes from then on, once what waited is through.
            async with asyncio.timeout(TIMEOUT_S):
                while not await _hears(workers, here):
                    pass


async def _hears(workers: Workers, sender: StompClient) -> bool:
    async with workers.stomp(1) as back:
        await back.subscribe(SIGNALING)
        await send_signal(sender, offer("ann", 301))
        try:
            while (await back.next()).json["sdp"] != "v=0 301":
                pass
        except (ConnectionClosed, orjson.JSONDecodeError):
            return False
        return True


# SockJS over HTTP


async def open_session(workers: Workers, session: str, worker: int) -> HttpConnection:
    connection = await workers.connect(worker)
    answer = await connection.post(f"/ws/0/{session}/xhr")
    assert (answer.status, answer.body) == (200, b"o\n")
    return connection


def stomp_frame(text: str) -> bytes:
    return orjson.dumps([text + "\0"])


async def connect_stomp(poll: HttpConnection, send: HttpConnection, url: str) -> None:
    answer = await send.post(f"{url}/xhr_send", stomp_frame("CONNECT\naccept-version:1.2\n\n"))
    assert answer.status == 204
    assert b"CONNECTED" in (await poll.post(f"{url}/xhr")).body


async def test_requests_of_a_session_may_land_at_any_worker() -> None:
    async with run_workers(3) as workers:
        for number in range(12):
            session = f"session{number}"
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


async def test_an_unknown_session_is_404_everywhere() -> None:
    async with run_workers(2) as workers:
        for worker in range(2):
            async with connection_to(workers, worker) as connection:
                for number in range(6):
                    answer = await connection.post(f"/ws/0/none{number}/xhr_send", b'["x"]')
                    assert answer.status == 404


async def session_of_another(workers: Workers, worker: int) -> str:
    """Return the name of a session that would not be of ``worker``."""
    for number in range(64):
        async with connection_to(workers, worker) as connection:
            await connection.post(f"/ws/0/probe{number}/xhr_send", b"[]")
            if await connection.worker() != worker:
                return f"probe{number}"
    raise AssertionError("every session is of one worker")


async def test_a_request_that_comes_in_pieces_goes_to_its_owner_whole() -> None:
    async with run_workers(2) as workers:
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


async def test_a_large_body_goes_along() -> None:
    async with run_workers(2) as workers:
        session = await session_of_another(workers, 0)
        (await open_session(workers, session, 0)).close()
        frame = stomp_frame(f"SEND\ndestination:/app/none\n\n{'x' * 450_000}")
        for _ in range(4):
            async with connection_to(workers, 0) as connection:
                answer = await connection.post(f"/ws/0/{session}/xhr_send", frame)
                assert answer.status == 204
                assert await connection.worker() == 1


async def test_requests_in_a_row_are_answered_in_order_by_who_they_are_for() -> None:
    async with run_workers(2) as workers:
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
            assert orjson.loads(third.body)["gateway"]["worker"] == 1


async def test_a_stream_that_its_client_leaves_ends_the_session_at_its_owner() -> None:
    async with run_workers(2) as workers:
        session = await session_of_another(workers, 0)
        url = f"/ws/0/{session}"
        async with connection_to(workers, 0) as connection:
            head = f"POST {url}/xhr_streaming HTTP/1.1\r\nHost: x\r\nContent-Length: 0"
            await connection.write(f"{head}\r\n\r\n".encode())
            await connection.read_until(b"o\n")
            status = (await workers.status())["gateway"]["workers"]
            assert [each["clients"] for each in status] == [0, 1]
        async with asyncio.timeout(TIMEOUT_S):
            while (await workers.status())["gateway"]["clients"]:
                pass


# Coming back


async def test_who_comes_back_to_another_worker_misses_nothing_if_that_followed_the_symbol() -> (
    None
):
    async with run_workers(2) as workers:
        await workers.feed.price("AAPL", 1.0)
        async with workers.stomp(1) as follower:
            await follower.subscribe("/topic/market-data/AAPL")
            await follower.next()
            async with workers.stomp(0) as client:
                await client.subscribe("/topic/market-data/AAPL")
                seen = await client.next()
            await workers.feed.price("AAPL", 2.0, 3.0, 4.0)
            while (await follower.next()).json["close"] != 4.0:
                pass
            left = {"last_sequence": seen["sequence"], "epoch": seen["epoch"]}
            async with workers.stomp(1) as client:
                await client.subscribe("/topic/market-data/AAPL", policy="buffer", **left)
                missed = await client.messages(3)
                assert [frame.json["close"] for frame in missed] == [2.0, 3.0, 4.0]
                assert [frame["recovered"] for frame in missed] == ["true"] * 3


async def test_who_comes_back_to_a_worker_that_did_not_follow_is_told_so() -> None:
    async with run_workers(2) as workers:
        await workers.feed.price("AAPL", 1.0)
        async with workers.stomp(0) as client:
            await client.subscribe("/topic/market-data/AAPL")
            seen = await client.next()
        left = {"last_sequence": seen["sequence"], "epoch": seen["epoch"]}
        await workers.feed.price("AAPL", 2.0, 3.0)
        async with workers.stomp(1) as client:
            await client.subscribe("/topic/market-data/AAPL", **left)
            frame = await client.next()
            assert (frame.json["close"], frame["recovered"]) == (3.0, "false")


# Limits


async def test_the_rate_limit_is_of_all_workers_together() -> None:
    # One request in 20 minutes.
    async with run_workers(2, GATEWAY_RATE_LIMIT="0.001") as workers:
        statuses = []
        for number in range(12):
            async with connection_to(workers, number % 2) as connection:
                statuses.append((await connection.get("/api/v1/marketdata/AAPL")).status)
        assert statuses == [404] + [429] * 11


async def test_one_seconds_worth_passes_at_once_over_any_workers() -> None:
    async with run_workers(2, GATEWAY_RATE_LIMIT="40") as workers:
        loop = asyncio.get_running_loop()
        connections = [await workers.connect(number % 2) for number in range(4)]
        began, statuses = loop.time(), []
        for number in range(160):
            answer = await connections[number % 4].get("/api/v1/marketdata/AAPL")
            statuses.append(answer.status)
        passed, took = statuses.count(404), loop.time() - began
        for connection in connections:
            connection.close()
        assert statuses[:40] == [404] * 40
        assert passed <= 40 + took * 40 + 1


async def test_each_client_has_its_own_rate_over_all_workers() -> None:
    env = {
        "GATEWAY_RATE_LIMIT": "0.001",
        "GATEWAY_RATE_LIMIT_SCOPE": "client",
        "GATEWAY_TRUSTED_PROXIES": "127.0.0.1",
    }
    async with run_workers(2, **env) as workers:
        connections = [await workers.connect(worker) for worker in (0, 1)]
        for number in range(8):
            header = f"X-Forwarded-For: 192.0.2.{number}\r\n"
            answers = [
                await each.get("/api/v1/marketdata/AAPL", header)
                for each in (connections if number % 2 else connections[::-1])
            ]
            assert [answer.status for answer in answers] == [404, 429]
        for connection in connections:
            connection.close()


async def refused(workers: Workers, worker: int) -> bool:
    async with connection_to(workers, worker) as connection:
        await connection.write(b"GET /api/v1/stream?symbols=AAPL HTTP/1.1\r\nHost: x\r\n\r\n")
        return b" 503 " in await connection.read_until(b"\r\n")


async def test_no_more_clients_are_let_in_than_there_may_be_of_all_workers() -> None:
    async with run_workers(2, GATEWAY_MAX_CONNECTIONS="3") as workers:
        first, second = workers.stomp(0), workers.stomp(0)
        async with first, second:
            async with workers.stomp(1):
                assert await refused(workers, 0)
                assert await refused(workers, 1)
                status = (await workers.status())["gateway"]
                assert (status["clients"], status["maxClients"]) == (3, 3)
            async with asyncio.timeout(TIMEOUT_S):
                while await refused(workers, 0):
                    pass
            # The clients of a worker that dies leave their places.
            async with workers.stomp(1):
                workers.processes()[1].kill()
                await workers.service.wait_for_log("worker died, starting another")
                async with workers.stomp(0):
                    assert await refused(workers, 0)


# The life of workers


async def test_a_worker_that_dies_is_replaced_and_the_others_go_on() -> None:
    async with run_workers(2) as workers:
        await workers.feed.price("AAPL", 1.0)
        async with workers.stomp(0) as here:
            await here.subscribe(SIGNALING)
            await here.subscribe("/topic/market-data/AAPL", "1")
            await here.next()
            dead = workers.processes()[1]
            async with workers.stomp(1) as there:
                await there.subscribe(SIGNALING)
                dead.kill()
                assert (await there.wait_closed())[0] == 1006
            died = await workers.service.wait_for_log("worker died, starting another")
            assert (died["number"], died["code"]) == (1, -signal.SIGKILL)
            await workers.feed.price("AAPL", 2.0)
            assert (await here.next()).json["close"] == 2.0
            # Who connects meanwhile waits for the one that takes its place.
            async with workers.stomp(1) as there:
                await there.subscribe(SIGNALING)
                await send_signal(here, offer("ann", 1))
                await send_signal(there, offer("bob", 2))
                for client in (here, there):
                    frames = await client.messages(2)
                    assert senders(frames) == {"ann": ["v=0 1"], "bob": ["v=0 2"]}
        assert len(workers.processes()) == 2
        assert await workers.service.stop() == 0


async def test_requests_for_a_worker_that_died_wait_for_the_next_one() -> None:
    async with run_workers(2) as workers:
        session = await session_of_another(workers, 0)
        (await open_session(workers, session, 0)).close()
        connections = [await workers.connect(0) for _ in range(5)]
        workers.processes()[1].kill()
        # Its sessions are gone with it, and said to be.
        answers = await asyncio.gather(
            *(each.post(f"/ws/0/{session}/xhr_send", b'["x"]') for each in connections)
        )
        assert [answer.status for answer in answers] == [404] * 5
        assert (await connections[0].post(f"/ws/0/{session}/xhr")).body == b"o\n"
        assert {await each.worker() for each in connections} == {1}
        for each in connections:
            each.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_at_the_end_every_client_of_every_worker_is_told(number: signal.Signals) -> None:
    async with run_workers(3) as workers:
        processes = workers.processes()
        async with contextlib.AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(workers.stomp(worker)) for worker in [0, 1, 1, 2]
            ]
            workers.service.process.send_signal(number)
            for client in clients:
                assert (await client.next()).command == "ERROR"
                assert (await client.wait_closed())[0] == 1001
        assert await workers.service.end() == 0
        assert not psutil.wait_procs(processes, timeout=TIMEOUT_S)[1]
        assert len(workers.service.said("gateway stopped")) == 4
    assert not unix_sockets()


async def test_who_polls_is_told_the_end_by_whichever_worker_it_asks() -> None:
    async with run_workers(2) as workers:
        session = await session_of_another(workers, 0)
        poll = await open_session(workers, f"{session}", 0)
        home = await poll.worker()
        # It has no client of its own, and could end at once.
        asking = await workers.connect(1 - home)
        workers.service.process.terminate()
        said = (await asking.post(f"/ws/0/{session}/xhr")).body
        assert said.startswith(b'a["ERROR\\nmessage:the server is shutting down')
        poll.close()
        asking.close()
        assert await workers.service.end() == 0


async def test_workers_do_not_outlive_their_parent() -> None:
    async with run_workers(2) as workers:
        processes = workers.processes()
        async with workers.stomp(0) as here, workers.stomp(1) as there:
            workers.service.process.kill()
            for client in (here, there):
                assert (await client.wait_closed())[0] == 1001
        await workers.service.end()
        assert not psutil.wait_procs(processes, timeout=TIMEOUT_S)[1]
    assert not unix_sockets()


async def test_one_worker_is_the_gateway_itself() -> None:
    async with run_workers(1) as workers:
        assert workers.processes() == []
        assert not unix_sockets()
        status = (await workers.status())["gateway"]
        assert [each["worker"] for each in status["workers"]] == [0]
        async with open_stomp(workers.address) as client:
            await client.subscribe(SIGNALING)
            await send_signal(client, offer("ann", 1))
            assert (await client.next()).json["senderId"] == "ann"
        assert await workers.service.stop() == 0
