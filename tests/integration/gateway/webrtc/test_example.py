"""The example of docs/protocols/webrtc.md does what it says."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests.integration.gateway.live import live

EXAMPLE = Path(__file__).parents[4] / "examples" / "webrtc_client.py"


async def test_it_prints_states_until_the_gateway_ends() -> None:
    # A proxy that the shell names has no way to here.
    env = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    async with live() as (address, feed):
        await feed.price("AAPL", 150.25)
        example = await asyncio.create_subprocess_exec(
            sys.executable, EXAMPLE, address, "AAPL", stdout=asyncio.subprocess.PIPE, env=env
        )
        assert example.stdout is not None
        async with asyncio.timeout(30):
            assert await example.stdout.readline() == b"AAPL 150.25 1\n"
            await feed.price("AAPL", 151.5)
            assert await example.stdout.readline() == b"AAPL 151.5 2\n"
    async with asyncio.timeout(30):
        assert await example.wait() == 0
        # Its transport has to be closed as well.
        assert await example.stdout.read() == b""
