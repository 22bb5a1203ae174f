"""Run JavaScript clients from npm, where Node is there."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "node"
LOCK = FOLDER / "package-lock.json"
# npm writes it last.
INSTALLED = FOLDER / "node_modules" / ".package-lock.json"
TIMEOUT_S = 60.0


def need_node() -> None:
    """Install the packages of the lock file, once; skip the test if that cannot be done."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    if INSTALLED.exists() and INSTALLED.stat().st_mtime >= LOCK.stat().st_mtime:
        return
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"npm ci failed: {done.stderr[-500:]}")


async def run_node(script: str, *args: str) -> str:
    """Return what ``script`` prints; it must succeed."""
    process = await asyncio.create_subprocess_exec(
        "node",
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
