"""The examples run as they are described."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from tests.doubles.processes import TIMEOUT_S, run_backend, run_gateway
from tests.doubles.trades import ROOT


async def test_the_producer_with_acks_goes_on_where_it_was() -> None:
    async with run_backend() as (_, _, _, ingest_port):
        for known in (0, 6):
            producer = await asyncio.create_subprocess_exec(
                *(sys.executable, ROOT / "examples" / "acked_producer.py"),
                f"localhost:{ingest_port}",
                stdout=asyncio.subprocess.PIPE,
            )
            async with asyncio.timeout(TIMEOUT_S):
                output, _ = await producer.communicate()
            assert producer.returncode == 0
            assert output.decode().splitlines() == [
                f"the server has {known} ticks of example",
                f"tick {known + 3} was rejected: price_not_positive: price -1.0",
                "sent 6 = acked 5 + rejected 1",
            ]


async def test_the_producer_makes_a_bar_of_demo() -> None:
    async with (
        run_backend() as (_, aggregator_port, _, ingest_port),
        run_gateway(aggregator_port) as (_, http),
    ):
        producer = await asyncio.create_subprocess_exec(
            *(sys.executable, ROOT / "examples" / "producer.py", f"localhost:{ingest_port}"),
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(TIMEOUT_S):
            output, _ = await producer.communicate()
            state: dict[str, Any] = {}
            while state.get("volume") != "500":
                await asyncio.sleep(0.05)
                state = (await http.get("/api/v1/marketdata/DEMO")).json()
    assert producer.returncode == 0
    assert len(output.splitlines()) == 5
    numbers = [state[field] for field in ("open", "high", "low", "close")]
    assert numbers == [150.25, 151.5, 149.5, 151.5]
