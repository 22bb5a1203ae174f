"""The gateway as an operator runs it: ``python -m gateway``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from gateway.app import running_gateway
from gateway.server import open_listener
from gateway.settings import GatewaySettings
from marketdata.acceptor import allow_open_files
from marketdata.errors import AddressInUse, StartError
from tests.doubles.processes import bound
from tests.integration.gateway.doubles import AAPL, FakeAggregator

ROOT = Path(__file__).parents[3]


@contextlib.asynccontextmanager
async def gateway_process(**environment: str) -> AsyncIterator[Process]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("GATEWAY_")}
    process = await asyncio.create_subprocess_exec(
        *bound(sys.executable, "-W", "error", "-m", "gateway"),
        cwd=ROOT,
        env={**inherited, "GATEWAY_PORT": "0", **environment},
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def next_line(process: Process) -> dict[str, str]:
    assert process.stderr is not None
    async with asyncio.timeout(30):
        line: dict[str, str] = json.loads(await process.stderr.readline())
    return line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_where_it_listens_and_stops_in_order(
    aggregator: FakeAggregator, number: signal.Signals
) -> None:
    aggregator.hold(AAPL)
    async with gateway_process(GATEWAY_AGGREGATOR=aggregator.address) as process:
        line = await next_line(process)
        assert line["event"] == "gateway_listening"
        async with httpx.AsyncClient(trust_env=False) as http:
            url = f"http://{line['address']}/api/v1/marketdata/AAPL"
            assert (await http.get(url)).json()["close"] == 151.5
            process.send_signal(number)
            while (line := await next_line(process))["event"].startswith("feed_"):
                pass
            assert line["event"] == "gateway_stopped"
        assert await process.wait() == 0


async def test_a_port_in_use_is_one_line_and_exit_code_1() -> None:
    with contextlib.closing(open_listener("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with gateway_process(GATEWAY_PORT=str(port)) as process:
            _, stderr = await process.communicate()
    assert process.returncode == 1
    assert stderr.decode() == (
        f"gateway: cannot listen on 127.0.0.1:{port}: address already in use\n"
    )


async def test_a_misspelt_setting_is_one_line_and_exit_code_2() -> None:
    async with gateway_process(GATEWAY_RATELIMIT="5") as process:
        _, stderr = await process.communicate()
    assert process.returncode == 2
    assert stderr.decode() == (
        "gateway: unknown setting GATEWAY_RATELIMIT, the nearest known name is GATEWAY_RATE_LIMIT\n"
    )


async def test_a_request_in_progress_is_answered_before_the_gateway_stops(
    aggregator: FakeAggregator,
) -> None:
    aggregator.hold(AAPL)
    aggregator.hang()
    settings = GatewaySettings.model_validate(
        {"port": 0, "aggregator": aggregator.address, "attempt_timeout_s": 2.5}
    )
    async with httpx.AsyncClient(trust_env=False) as http:
        async with running_gateway(settings) as address:
            request = asyncio.create_task(http.get(f"http://{address}/api/v1/marketdata/AAPL"))
            await aggregator.attempts(1)
            asyncio.get_running_loop().call_later(0.2, aggregator.go_on)
        # The gateway has stopped.
        assert request.done()
        assert (await request).json()["close"] == 151.5


def test_a_port_in_use_is_refused() -> None:
    with contextlib.closing(open_listener("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressInUse, match=f"cannot listen on 127.0.0.1:{port}"):
            open_listener("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(StartError, match=f"cannot listen on {host}:8080: "):
        open_listener(host, 8080)


def test_small_answers_are_sent_at_once() -> None:
    # asyncio turns Nagle's algorithm off only for sockets that say they are TCP, and accepted ones
    # say what their listener says. With it, each answer waits 40 ms for a delayed ACK.
    with contextlib.closing(open_listener("127.0.0.1", 0)) as listener:
        assert listener.proto == socket.IPPROTO_TCP


async def test_nothing_is_left_behind() -> None:
    settings = GatewaySettings.model_validate(
        {"port": 0, "aggregator": "127.0.0.1:1", "retry_attempts": 1}
    )
    before = asyncio.all_tasks()
    async with running_gateway(settings) as address, httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(f"http://{address}/api/v1/marketdata/AAPL")).status_code == 200
    if left := asyncio.all_tasks() - before:
        # gRPC's own task of a cancelled call ends when its core says so.
        _, pending = await asyncio.wait(left, timeout=30)
        assert not pending
    open_listener("127.0.0.1", int(address.rpartition(":")[2])).close()


def test_as_many_files_may_be_open_as_there_may_be_clients() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (500, before[1]))
        allow_open_files(600)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (600, before[1])
        allow_open_files(550)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (600, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
