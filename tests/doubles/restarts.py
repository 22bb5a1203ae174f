"""Ingest as a process that is killed and comes back on its port, while producers send."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator

from marketdata.wire import market_data_pb2 as wire
from tests.doubles.pipeline import open_stub
from tests.doubles.ports import free_port
from tests.doubles.processes import Service, run_service


class KilledIngest:
    """The ingest that runs now; :meth:`kill` replaces it."""

    def __init__(self, port: int, aggregator_port: int) -> None:
        self.port = port
        self._env = {
            "INGEST_PORT": str(port),
            "INGEST_AGGREGATOR": f"127.0.0.1:{aggregator_port}",
        }
        self._runs = contextlib.AsyncExitStack()
        self._service: Service | None = None

    @property
    def address(self) -> str:
        """Where producers connect."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Run one, and wait until it listens."""
        self._service = await self._runs.enter_async_context(run_service("ingest", self._env))
        await self._service.wait_for_port()

    async def kill(self, away_s: float = 0.0) -> None:
        """Send SIGKILL to it, and run the next one after a while."""
        assert self._service is not None
        await self._service.stop(signal.SIGKILL)
        await asyncio.sleep(away_s)
        await self.start()

    async def stop(self) -> None:
        """End it."""
        await self._runs.aclose()


class Totals:
    """What an aggregator counted."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def status(self) -> wire.StatusResponse:
        """Return its counts."""
        async with open_stub(self._port) as stub:
            return await stub.GetStatus(wire.StatusRequest())

    async def aggregates(self, *symbols: str) -> dict[str, tuple[int, int]]:
        """Return trades and volume of each symbol."""
        async with open_stub(self._port) as stub:
            answer = await stub.GetAggregates(wire.AggregatesRequest(symbols=symbols))
            return {each.symbol: (each.trades, each.volume) for each in answer.aggregates}


@contextlib.asynccontextmanager
async def run_killed_ingest(**env: str) -> AsyncIterator[tuple[KilledIngest, Totals]]:
    """Run an aggregator, and an ingest that a test can kill."""
    given = {"AGGREGATOR_PORT": "0", "AGGREGATOR_SESSION": "none", **env}
    async with run_service("aggregator", given) as aggregator:
        port = await aggregator.wait_for_port()
        ingest = KilledIngest(free_port(), port)
        try:
            await ingest.start()
            yield ingest, Totals(port)
        finally:
            await ingest.stop()
