"""Run JavaScript clients from npm, where Node is there."""

from __future__ import annotations

import asyncio
import functools
import subprocess
from pathlib import Path

import pytest

from scripts.node import Node, NodeMissing, find_node

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
        *need_node().node,
        script,
        *args,
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
