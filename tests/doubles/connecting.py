"""A source of connect at work: what it says, and the ticks that arrive at a producer session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

from connect.app import MakeSource, pump
from connect.outlet import MAX_WAITING, Outlet, Rejections
from connect.settings import ConnectSettings
from connect.states import States
from marketdata.producer import Producer
from marketdata.wire.market_data_pb2 import Tick
from tests.doubles.session_server import SessionServer

TIMEOUT_S = 30


class Connecting:
    """One run of a source."""

    def __init__(self, server: SessionServer) -> None:
        self.server = server
        self.lines: list[str] = []
        self.running: asyncio.Task[None]
        self.outlet: Outlet
        self._changed = asyncio.Condition()

    @property
    def ticks(self) -> list[Tick]:
        """What has arrived."""
        return self.server.ledger.applied

    def ids(self, symbol: str = "BTC-USDT") -> list[str]:
        """Return the ids of a symbol's trades, as they arrived."""
        return [each.trade_id.decode() for each in self.ticks if each.symbol == symbol]

    def sizes(self) -> list[Decimal]:
        """Return the sizes, exactly."""
        return [Decimal(each.volume).scaleb(-each.volume_decimals) for each in self.ticks]

    def write(self, line: str) -> None:
        self.lines.append(line)
        self.wake()

    def wake(self) -> None:
        waker = asyncio.ensure_future(self._notify())
        # Held by the loop until it is done.
        waker.add_done_callback(lambda _: None)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def until(self, done: Callable[[], bool]) -> None:
        """Wait for a line or a batch after which something is true."""
        try:
            async with asyncio.timeout(TIMEOUT_S), self._changed:
                await self._changed.wait_for(done)
        except TimeoutError:
            raise AssertionError(f"{len(self.ticks)} ticks, {self.lines}") from None

    async def until_said(self, text: str, times: int = 1) -> None:
        """Wait for a line."""
        await self.until(lambda: self.said(text) >= times)

    async def until_sent(self, count: int) -> None:
        """Wait for so many ticks."""
        await self.until(lambda: len(self.ticks) >= count)

    def said(self, text: str) -> int:
        """Return how often a text was said."""
        return sum(text in line for line in self.lines)


@asynccontextmanager
async def connecting(
    make_source: MakeSource,
    server: SessionServer,
    *,
    max_waiting: int = MAX_WAITING,
    **settings: Any,
) -> AsyncIterator[Connecting]:
    """Run a source for the time of the context."""
    run = Connecting(server)
    states = States("source", with_time=False, write=run.write)
    server.on_batch = run.wake
    on_reject = Rejections(states.say).add
    async with Producer(server.address, "connect-test", on_reject=on_reject) as producer:
        run.outlet = Outlet(producer, max_waiting)
        chosen = ConnectSettings.model_validate(settings)
        source = make_source(chosen, run.outlet, states)
        run.running = asyncio.create_task(pump(source, run.outlet))
        try:
            yield run
        finally:
            run.running.cancel()
            await asyncio.wait([run.running])
        if not run.running.cancelled() and (failure := run.running.exception()):
            raise failure
