"""Servers of tests do not outlive the tests, however these end."""

from __future__ import annotations

import asyncio
import shutil
import sys

import psutil
import pytest

from tests.doubles.processes import TIMEOUT_S, bound
from tests.doubles.trades import ROOT

# A test run that starts an aggregator and then does nothing.
RUN = """
import asyncio
from tests.doubles.processes import run_service

async def main():
    async with run_service("aggregator", {"AGGREGATOR_PORT": "0"}) as aggregator:
        print(aggregator.process.pid, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


def runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs util-linux")
async def test_a_server_ends_when_the_process_of_its_test_is_killed() -> None:
    run = await asyncio.create_subprocess_exec(
        *bound(sys.executable, "-c", RUN), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert run.stdout is not None
    async with asyncio.timeout(TIMEOUT_S):
        server = psutil.Process(int(await run.stdout.readline()))
        run.kill()
        await run.wait()
        while runs(server):  # noqa: ASYNC110  nothing tells of the end of another's child
            await asyncio.sleep(0.02)
