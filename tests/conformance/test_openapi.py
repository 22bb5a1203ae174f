"""schemathesis: does the gateway do what its own ``/openapi.json`` says, for input nobody chose?"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests.integration.gateway.streams import run_market

TIMEOUT_S = 120
OPTIONS = (
    # Every phase but the stateful one: no answer of ours names an address to go on from.
    "--phases=examples,coverage,fuzzing",
    "--max-examples=200",
    # The same requests each time, and nothing kept from run to run.
    "--generation-deterministic",
    # It has no end, so a client that reads all of an answer waits for ever.
    "--exclude-path=/api/v1/stream",
    "--checks=all",
    "--continue-on-failure",
    "--no-color",
)


async def test_the_gateway_does_what_its_openapi_document_says(tmp_path: Path) -> None:
    async with run_market() as (gateway, _, producer):
        await producer.publish("AAPL", "MSFT", "BRK/B", "^GSPC", "0")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "schemathesis.cli", "run", *OPTIONS),
            f"http://{gateway.address}/openapi.json",
            # It leaves a folder of its own.
            cwd=tmp_path,
            # A proxy of the machine is not for its own services.
            env={**os.environ, "NO_PROXY": "127.0.0.1"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(TIMEOUT_S):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert process.returncode == 0, output.decode()
