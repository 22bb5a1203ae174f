"""schemathesis: does the gateway do what its own ``/openapi.json`` says, for input nobody chose?"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests.doubles.bar_book import FINAL
from tests.integration.gateway.doubles import running_aggregator
from tests.integration.gateway.streams import run_gateway

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
# The document cannot say that from is before to, which intervals the aggregator has, and that a
# cursor is one of its own.
CONFIG = """
[[operations]]
include-path = "/api/v1/marketdata/{symbol}/bars"
checks.positive_data_acceptance.expected-statuses = ["2xx", 404, 422]
"""


async def test_the_gateway_does_what_its_openapi_document_says(tmp_path: Path) -> None:
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    async with running_aggregator() as aggregator, run_gateway(aggregator.address) as gateway:
        for symbol in ("AAPL", "MSFT", "BRK/B", "^GSPC", "0"):
            aggregator.set(symbol, close=1.0)
            for minute in range(3):
                aggregator.publish_bar(symbol, "1m", minute * 60 * 10**9, state=FINAL)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "schemathesis.cli", "--config-file", str(config), "run", *OPTIONS),
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
