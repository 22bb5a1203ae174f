"""Run JavaScript clients from npm, where Node is there."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from scripts.node import Node, NodeMissing, find_node
from tests.doubles.processes import bound

FOLDER = Path(__file__).parent / "node"
TIMEOUT_S = 60.0


def need_node() -> Node:
    """Install the packages of the lock file, once; skip the test if that cannot be done."""
    try:
        node = _find_node()
        node.install(FOLDER)
    except NodeMissing as exc:
        pytest.skip(str(exc))
    except subprocess.CalledProcessError as exc:
        pytest.skip(f"npm could not install the clients: {exc}")
    return node


@functools.cache
def _find_node() -> Node:
    return find_node()


async def run_node(script: str, *args: str) -> str:
    """Return what ``script`` prints; it must succeed."""
    process = await asyncio.create_subprocess_exec(
        *bound(*need_node().node, script, *args),
        cwd=FOLDER,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    return output.decode()


def need_chromium() -> str:
    """Return the command of Debian's Chromium; skip the test if it is not there."""
    command = shutil.which("chromium")
    if command is None:
        pytest.skip("chromium is not installed; on Debian: apt-get install chromium")
    return command


class Script:
    """A running script that says in lines of JSON how far it is, and is told when to go on."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def next(self) -> Any:
        """Return what it says next."""
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        async with asyncio.timeout(TIMEOUT_S):
            line = await self._process.stdout.readline()
        if not line:
            errors = await self._process.stderr.read()
            raise AssertionError(f"the script ended: {errors.decode()}")
        return json.loads(line)

    def tell(self, message: str) -> None:
        """Say one line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{message}\n".encode())


@contextlib.asynccontextmanager
async def node_script(script: str, *args: str) -> AsyncIterator[Script]:
    """Run ``script`` for the time of the context, at the end of which it must have succeeded."""
    process = await asyncio.create_subprocess_exec(
        *bound(*need_node().node, script, *args),
        cwd=FOLDER,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        # A page's text comes in one line.
        limit=2**22,
    )
    try:
        yield Script(process)
        async with asyncio.timeout(TIMEOUT_S):
            output, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        assert not output, output.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
