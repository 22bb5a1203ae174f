"""The examples run as they are described."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from marketdata.client import AsyncClient
from tests.doubles.pipeline import connect, frame, make_tick
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


async def test_the_notebook_runs(tmp_path: Path) -> None:
    path = ROOT / "examples" / "bars.ipynb"
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    store = {"AGGREGATOR_STORE": f"sqlite:///{tmp_path}/bars.db"}
    async with (
        run_backend(**store) as (_, aggregator_port, _, ingest_port),
        run_gateway(aggregator_port) as (_, http),
        trading(ingest_port),
    ):
        url = str(http.base_url)
        async with AsyncClient(url) as client, client.stream("AAPL", interval="1s") as bars:
            async for update in bars:
                if update.data.state == "final":
                    break
        env = {**os.environ, "MARKET_DATA_URL": url, "PYTHONPATH": str(ROOT)}
        await NotebookClient(notebook, timeout=TIMEOUT_S).async_execute(env=env)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error"]
    text = str(outputs)
    assert "did you mean AAPL" in text
    assert "complete: " in text


@contextlib.asynccontextmanager
async def trading(port: int) -> AsyncIterator[None]:
    """Send trades of some symbols for the time of the context."""

    async def trade() -> None:
        async with connect(port) as (_, writer):
            for number in count():
                for symbol in ("AAPL", "MSFT", "NVDA"):
                    writer.write(frame(make_tick(symbol, 100 + number % 7, 1 + number % 3)))
                await writer.drain()
                await asyncio.sleep(0.05)

    task = asyncio.create_task(trade())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
