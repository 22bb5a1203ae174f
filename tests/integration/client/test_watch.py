"""``python -m marketdata.client watch`` over a real gateway, on a terminal and into a pipe."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import signal
import sys

from tests.doubles.processes import bound
from tests.doubles.trades import ROOT
from tests.integration.gateway.live import live

TIMEOUT_S = 30
WATCH = (sys.executable, "-m", "marketdata.client", "watch")


async def test_into_a_pipe_it_writes_a_line_for_each_state() -> None:
    async with live() as (address, feed), asyncio.timeout(TIMEOUT_S):
        await feed.price("AAPL", 1.5)
        process = await asyncio.create_subprocess_exec(
            *bound(*WATCH, "AAPL", "--url", f"http://{address}"),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"live\n"
        assert b" AAPL 1.5 volume 1\n" in await process.stdout.readline()
        await feed.price("AAPL", 2.5)
        assert b" AAPL 2.5 volume 2\n" in await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0


async def test_it_ends_when_nobody_reads_it_any_more() -> None:
    async with live() as (address, feed), asyncio.timeout(TIMEOUT_S):
        await feed.price("AAPL", 1.5)
        reader, writer = os.pipe()
        process = await asyncio.create_subprocess_exec(
            *bound(*WATCH, "AAPL", "--url", f"http://{address}"), cwd=ROOT, stdout=writer
        )
        os.close(writer)
        os.close(reader)
        assert await process.wait() == 0


async def test_on_a_terminal_it_draws_a_table_and_leaves_it_as_it_was() -> None:
    leader, follower = pty.openpty()
    os.set_blocking(leader, False)
    async with live() as (address, feed), asyncio.timeout(TIMEOUT_S):
        await feed.price("AAPL", 1.5)
        process = await asyncio.create_subprocess_exec(
            *bound(*WATCH, "AAPL", "NIX", "--url", f"http://{address}"),
            cwd=ROOT,
            stdout=follower,
            stdin=follower,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "30"},
        )
        os.close(follower)
        screen = Screen(leader)
        await screen.until("1.5")
        await feed.price("AAPL", 2.25)
        await screen.until("2.25")
        assert "NIX" in screen.text
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
        # The screen of before, and the cursor.
        await screen.until("\x1b[?1049l")
        await screen.until("\x1b[?25h")
        screen.close()


class Screen:
    """What a program wrote to a terminal."""

    def __init__(self, leader: int) -> None:
        self._leader = leader
        self._written = bytearray()
        self._changed = asyncio.Event()
        asyncio.get_running_loop().add_reader(leader, self._read)

    @property
    def text(self) -> str:
        return self._written.decode(errors="replace")

    async def until(self, text: str) -> None:
        while text not in self.text:
            self._changed.clear()
            await self._changed.wait()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._leader)
        os.close(self._leader)

    def _read(self) -> None:
        # At its end, reading fails.
        with contextlib.suppress(OSError):
            self._written += os.read(self._leader, 65_536)
            self._changed.set()
            return
        asyncio.get_running_loop().remove_reader(self._leader)


async def test_a_gateway_that_refuses_is_one_line_and_exit_code_1() -> None:
    async with live() as (address, _), asyncio.timeout(TIMEOUT_S):
        for symbol, url, says in [
            ("A*", f"http://{address}", b"watch: symbols: symbol 'A*' must be"),
            ("A", "localhost:1", b"watch: url must be like http://localhost:8080"),
        ]:
            process = await asyncio.create_subprocess_exec(
                *bound(*WATCH, symbol, "--url", url),
                cwd=ROOT,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            _, said = await process.communicate()
            assert process.returncode == 1
            assert said.startswith(says), said
            assert said.count(b"\n") == 1
