"""The wheel: installed into an empty environment, without Node.js, it serves the pages."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import httpx
import pytest

from gateway.app import STATIC
from tests.doubles.ports import free_port
from tests.doubles.processes import bound
from tests.doubles.trades import ROOT

# pip takes 15 s on an idle machine.
TIMEOUT_S = 300.0
PACKAGES = ("marketdata", "ingest", "aggregator", "gateway", "standalone", "fakeclient", "connect")
PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check")


async def run(*command: object, cwd: Path) -> None:
    process = await asyncio.create_subprocess_exec(*map(str, command), cwd=cwd)
    async with asyncio.timeout(TIMEOUT_S):
        assert await process.wait() == 0, command


def only_wheel(folder: Path) -> Path:
    (wheel,) = folder.glob("*.whl")
    return wheel


async def get_page(http: httpx.AsyncClient, path: str) -> httpx.Response:
    """Ask until the gateway listens."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                return await http.get(path)
            except httpx.TransportError:
                await asyncio.sleep(0.1)


async def test_it_serves_the_pages_from_an_empty_environment(tmp_path: Path) -> None:
    if not (STATIC / "dashboard" / "index.html").exists():
        pytest.skip("the dashboard is not built: make assets")
    # From a copy of what the build reads, so that no build folder is left in the tree.
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", *PACKAGES):
        (source / name).symlink_to(ROOT / name)
    await run(sys.executable, *PIP, "wheel", "--no-deps", "-w", tmp_path, source, cwd=tmp_path)
    wheel = only_wheel(tmp_path)

    environment = tmp_path / "environment"
    await run(sys.executable, "-m", "venv", environment, cwd=tmp_path)
    python = environment / "bin" / "python"
    pins = ("--no-compile", "-c", ROOT / "constraints.txt")
    await run(python, *PIP, "install", *pins, wheel, cwd=tmp_path)

    port = free_port()
    # No program of the machine: nothing can be built here.
    env = {"PATH": "", "GATEWAY_PORT": str(port), "HOME": os.environ.get("HOME", "")}
    process = await asyncio.create_subprocess_exec(
        *bound(str(python), "-P", "-m", "gateway"), cwd=tmp_path, env=env
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            page = await get_page(http, "/")
            assert page.status_code == 200
            loaded = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)
            assert [name for name in loaded if name.endswith(".js")]
            for name in (*loaded, "/static/dashboard/marketdata-client.js", "/graphiql", "/collab"):
                assert (await http.get(name)).status_code == 200, name
    finally:
        process.terminate()
        async with asyncio.timeout(TIMEOUT_S):
            assert await process.wait() == 0
