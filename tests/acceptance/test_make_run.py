"""What ``make run`` runs: everything starts, is live, and stops in order."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest

from scripts.run import fold
from tests.doubles.ports import free_port
from tests.doubles.processes import TIMEOUT_S, bound, open_http
from tests.doubles.trades import ROOT

PREFIXES = ("INGEST_", "AGGREGATOR_", "GATEWAY_", "FAKECLIENT_", "CONNECT_")
MARK = "MARKETDATA_TEST_RUN"
FIELDS = ("symbol", "open", "high", "low", "close", "volume", "timestamp")
# What each says last, in the order in which they are to end.
LAST_WORDS = ("fakeclient | sent ", "ingest_stopped", "gateway_stopped", "aggregator_stopped")


class Run:
    """One ``python -m scripts.run`` on ports of its own."""

    def __init__(self, *options: str, **env: str) -> None:
        self._options = options
        self._env = env
        self.ports = {name: free_port() for name in ("INGEST", "AGGREGATOR", "GATEWAY")}
        self.mark = uuid4().hex
        self.lines: list[str] = []
        self.process: asyncio.subprocess.Process

    async def start(self) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith(PREFIXES)}
        env |= {f"{name}_PORT": str(port) for name, port in self.ports.items()}
        env |= {
            MARK: self.mark,
            "GATEWAY_RATE_LIMIT": "0",
            "AGGREGATOR_STORE": "off",
            "AGGREGATOR_LOG": "off",
            **self._env,
        }
        self.process = await asyncio.create_subprocess_exec(
            # Its own end is orderly: it stops what it started.
            *bound(sys.executable, "-m", "scripts.run", *self._options, end=signal.SIGTERM),
            cwd=ROOT,
            env=env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )

    def press_ctrl_c(self) -> None:
        """Do what a terminal does: interrupt the whole process group."""
        os.killpg(self.process.pid, signal.SIGINT)

    async def wait_for_line(self, text: str) -> None:
        """Read on until a line with ``text`` is among those that were said."""
        async with asyncio.timeout(TIMEOUT_S):
            while not any(text in line for line in self.lines):
                if await self._next_line() is None:
                    break
            else:
                return
        raise AssertionError(f"it ended without saying {text!r}: {self.lines}")

    async def end(self) -> int:
        async with asyncio.timeout(TIMEOUT_S):
            while await self._next_line() is not None:
                pass
            return await self.process.wait()

    def left_behind(self) -> list[psutil.Process]:
        """Return the processes that inherited our mark and still run."""
        left = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark:
                    left.append(process)
            except psutil.Error:
                # It has just ended, or is not ours to look at.
                continue
        return left

    async def _next_line(self) -> str | None:
        assert self.process.stdout is not None
        raw = await self.process.stdout.readline()
        if not raw:
            return None
        self.lines.append(raw.decode().rstrip("\n"))
        return self.lines[-1]


def find_processes(run: Run, name: str) -> list[psutil.Process]:
    """Return the processes of a service."""
    return [each for each in run.left_behind() if each.cmdline()[-1:] == [name]]


def find_process(run: Run, name: str) -> psutil.Process:
    """Return the process of a service that runs once."""
    (process,) = find_processes(run, name)
    return process


@asynccontextmanager
async def started(run: Run | None = None) -> AsyncIterator[Run]:
    run = run or Run()
    await run.start()
    try:
        yield run
    finally:
        for process in run.left_behind():
            process.kill()
        await run.process.wait()


async def get_aapl(http: httpx.AsyncClient) -> dict[str, Any]:
    """Ask until there is live data; before, connections are refused or the symbol is unknown."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                answer = await http.get("/api/v1/marketdata/AAPL")
            except httpx.TransportError:
                pass
            else:
                if answer.headers.get("x-data-status") == "live":
                    body: dict[str, Any] = answer.json()
                    return body
            await asyncio.sleep(0.05)


# A new user's first start, and the bound for every one after it.
@pytest.mark.alone
@pytest.mark.parametrize("within_s", [10, 5])
async def test_it_starts_without_a_complaint_is_live_and_stops_in_order(within_s: float) -> None:
    began = monotonic()
    async with started() as run, open_http(run.ports["GATEWAY"]) as http:
        first = await get_aapl(http)
        assert monotonic() - began < within_s
        assert tuple(first)[: len(FIELDS)] == FIELDS
        assert None not in first.values()
        async with asyncio.timeout(within_s):
            while (later := await get_aapl(http))["close"] == first["close"]:
                pass
        assert int(later["volume"]) > int(first["volume"])
        assert int(later["timestamp"]) > int(first["timestamp"])

        await run.wait_for_line(f"http://localhost:{run.ports['GATEWAY']}/api/v1/marketdata/AAPL")
        await run.wait_for_line("fakeclient | connected to ")
        # The front of a line says time and service; the service does not say them again.
        (listening,) = [line for line in run.lines if "gateway_listening" in line]
        assert listening.endswith(
            f"| [info] gateway_listening address=127.0.0.1:{run.ports['GATEWAY']}"
        )
        # Nothing went wrong on the way, not even a first attempt to connect.
        assert not [line for line in run.lines if "warning" in line or "error" in line]
        assert [line for line in run.lines if "cannot connect" in line or " gone" in line] == []

        run.press_ctrl_c()
        assert await run.end() == 0, run.lines
        assert run.left_behind() == []

    said = [
        next(number for number, line in enumerate(run.lines) if words in line)
        for words in LAST_WORDS
    ]
    assert said == sorted(said)


@pytest.mark.parametrize("name", ["INGEST", "AGGREGATOR", "GATEWAY"])
async def test_a_port_in_use_is_named_with_its_holder_and_nothing_is_left_running(
    name: str,
) -> None:
    run = Run()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", run.ports[name]))
        taken.listen()
        async with started(run):
            assert await run.end() == 1
            assert run.left_behind() == []
    (line,) = run.lines
    assert f"cannot listen on 127.0.0.1:{run.ports[name]}: address already in use" in line
    assert f" by process {os.getpid()} (" in line
    assert line.endswith(f"; {name}_PORT sets another one")


async def test_ctrl_c_in_the_middle_of_the_start_leaves_nothing_running() -> None:
    async with started() as run:
        await run.wait_for_line("aggregator_listening")
        run.press_ctrl_c()
        assert await run.end() == 0, run.lines
        assert run.left_behind() == []


async def test_a_second_ctrl_c_says_what_is_waited_for_and_a_third_kills() -> None:
    async with started() as run:
        await run.wait_for_line("producer_connected")
        find_process(run, "fakeclient").suspend()
        run.press_ctrl_c()
        await run.wait_for_line("stopping fakeclient, then ")
        run.press_ctrl_c()
        await run.wait_for_line("waiting for fakeclient for at most ")
        run.press_ctrl_c()
        assert await run.end() == 1
        assert run.left_behind() == []
    assert any("killing what still runs" in line for line in run.lines)


async def test_ctrl_c_while_it_starts_leaves_no_traceback() -> None:
    # The moments of a start: imports of the supervisor, then of the services.
    for delay_s in (0.1, 0.25, 0.4, 0.7, 1.0):
        async with started() as run:
            await asyncio.sleep(delay_s)
            run.press_ctrl_c()
            assert await run.end() in {0, -signal.SIGINT}, run.lines
            assert run.left_behind() == []
        assert not [line for line in run.lines if "Traceback" in line], run.lines


def test_lines_are_folded_between_words_to_the_width_of_the_terminal() -> None:
    line = "[info] producer connected peer=127.0.0.1:40000 connections=1"
    assert fold(line, 100) == line
    assert fold(line, 40).splitlines() == [
        "[info] producer connected",
        "    peer=127.0.0.1:40000 connections=1",
    ]
    # Indented lines of a traceback keep their indentation.
    assert fold('    File "x.py"', 40) == '    File "x.py"'


async def test_a_killed_service_is_started_again_and_everything_goes_on() -> None:
    async with started() as run, open_http(run.ports["GATEWAY"]) as http:
        await run.wait_for_line("fakeclient | connected to ")
        before = await get_aapl(http)
        find_process(run, "aggregator").kill()
        await run.wait_for_line("aggregator was killed by signal 9, starting it again")
        # Without a log it begins anew.
        async with asyncio.timeout(TIMEOUT_S):
            while (await get_aapl(http))["epoch"] == before["epoch"]:
                pass
        run.press_ctrl_c()
        assert await run.end() == 0, run.lines
        assert run.left_behind() == []
    assert sum("the market at work" in line for line in run.lines) == 1


async def test_when_one_service_ends_by_itself_the_others_stop_in_order() -> None:
    async with started() as run:
        await run.wait_for_line("producer_connected")
        find_process(run, "ingest").terminate()
        assert await run.end() == 0, run.lines
        assert run.left_behind() == []
    assert any("ingest has ended with code 0, so everything ends" in line for line in run.lines)
    assert any("aggregator_stopped" in line for line in run.lines)


async def test_a_service_that_is_killed_before_it_listens_ends_everything() -> None:
    async with started() as run:
        for _ in range(1_000):
            if found := find_processes(run, "aggregator"):
                break
            await asyncio.sleep(0.01)
        found[0].kill()
        assert await run.end() == 1, run.lines
        assert run.left_behind() == []
    assert any(
        "aggregator has ended with code -9, so everything ends" in each for each in run.lines
    )


async def test_one_process_has_all_services_and_is_started_again_when_it_is_killed() -> None:
    async with started(Run("--one")) as run, open_http(run.ports["GATEWAY"]) as http:
        await run.wait_for_line("fakeclient | connected to ")
        before = await get_aapl(http)
        find_process(run, "standalone").kill()
        await run.wait_for_line("standalone was killed by signal 9, starting it again")
        async with asyncio.timeout(TIMEOUT_S):
            while (await get_aapl(http))["epoch"] == before["epoch"]:
                pass
        run.press_ctrl_c()
        assert await run.end() == 0, run.lines
        assert run.left_behind() == []
    assert sum("the market at work" in line for line in run.lines) == 1
    said = [
        max(number for number, line in enumerate(run.lines) if words in line)
        for words in LAST_WORDS
    ]
    assert said == sorted(said)
    # One process says which of its services it is.
    assert any("ingest_listening" in line and "service=ingest" in line for line in run.lines)
