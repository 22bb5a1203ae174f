"""schemathesis: does the gateway do what its own ``/openapi.json`` says, for input nobody chose?"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from marketdata.wire import market_data_pb2 as wire
from tests.doubles.pipeline import make_tick
from tests.doubles.processes import open_http
from tests.integration.gateway.live import feeding, gateway_to, until_status

TIMEOUT_S = 300
SYMBOLS = ("AAPL", "MSFT", "BRK/B", "^GSPC", "0")
SECOND_NS = 10**9
DAY_NS = 86_400 * SECOND_NS
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

[[operations]]
include-path = "/api/v1/bars"
checks.positive_data_acceptance.expected-statuses = ["2xx", 404, 422]
"""


@contextlib.asynccontextmanager
async def market(path: Path) -> AsyncIterator[str]:
    """Run a market with bars in the store and in memory; give the address of the gateway."""
    settings: dict[str, Any] = {"store": f"sqlite:///{path}/bars.db"}
    now_ns = time.time_ns()
    async with feeding(**settings) as (_, feed):
        # Bars of every interval, most of them closed by what came after.
        await feed.push(*trades(now_ns - 400 * DAY_NS, 3), *trades(now_ns - DAY_NS, 300))
    async with feeding(**settings) as (port, feed), gateway_to(port) as address:
        await until_status(address, "live")
        await feed.push(*trades(now_ns - 80 * SECOND_NS, 3))
        async with open_http(int(address.rpartition(":")[2])) as http:
            for interval in ("1s", "1m", "1d"):
                asked = {"interval": interval, "from": "0", "include_partial": "true"}
                answer = await http.get("/api/v1/marketdata/AAPL/bars", params=asked)
                assert len(answer.raise_for_status().json()["bars"]) >= 3
        yield address


def trades(begin_ns: int, count: int) -> list[wire.Tick]:
    """Return a trade of each symbol every 20 s."""
    return [
        make_tick(symbol, price=1.0 + number % 3, ts_ns=begin_ns + number * 20 * SECOND_NS)
        for number in range(count)
        for symbol in SYMBOLS
    ]


async def test_the_gateway_does_what_its_openapi_document_says(tmp_path: Path) -> None:
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    async with market(tmp_path) as address:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "schemathesis.cli", "--config-file", str(config), "run", *OPTIONS),
            f"http://{address}/openapi.json",
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
