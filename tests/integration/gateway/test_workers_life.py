"""How the processes of a gateway start, count together, stand still, die and end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import Any

import orjson
import psutil
import pytest
from websockets.exceptions import ConnectionClosed

from tests.doubles.ports import free_port
from tests.doubles.processes import TIMEOUT_S, run_gateway
from tests.doubles.signaling import SIGNALING, offer, send_signal, senders
from tests.doubles.stomp import StompClient, open_stomp
from tests.doubles.workers import (
    Workers,
    connection_to,
    left_of,
    open_session,
    run_workers,
    session_of_another,
)
from tests.integration.gateway.live import feeding


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


# The end of workers


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
        processes, sockets = workers.processes(), workers.sockets()
        assert len(sockets) >= 3
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
    assert not left_of(sockets)


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
        processes, sockets = workers.processes(), workers.sockets()
        assert len(sockets) >= 2
        async with workers.stomp(0) as here, workers.stomp(1) as there:
            workers.service.process.kill()
            for client in (here, there):
                assert (await client.wait_closed())[0] == 1001
        await workers.service.end()
        assert not psutil.wait_procs(processes, timeout=TIMEOUT_S)[1]
    assert not left_of(sockets)


async def test_one_worker_is_the_gateway_itself() -> None:
    async with run_workers(1) as workers:
        assert workers.processes() == []
        assert not workers.sockets()
        status = (await workers.status())["gateway"]
        assert [each["worker"] for each in status["workers"]] == [0]
        async with open_stomp(workers.address) as client:
            await client.subscribe(SIGNALING)
            await send_signal(client, offer("ann", 1))
            assert (await client.next()).json["senderId"] == "ann"
        assert await workers.service.stop() == 0
