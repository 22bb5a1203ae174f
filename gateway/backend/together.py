"""Answer reads of several clients with one call to the aggregator."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from gateway.backend.client import AggregatorClient, Reading
from gateway.errors import InvalidInput

Waiting = list[tuple[str, asyncio.Future[Reading]]]

# In one call; the aggregator takes 10,000.
MAX_SYMBOLS = 500


class ReadsTogether:
    """Read states of single symbols: one call for all reads of one turn of the event loop.

    A call costs the gateway more than the rest of a request. A read never uses a call that began
    before it: the response may lack data that the client knows to exist.

    Args:
        client: calls the aggregator.
        tasks: where calls run, so that a client that disconnects does not end the call of others.
    """

    def __init__(self, client: AggregatorClient, tasks: asyncio.TaskGroup) -> None:
        self._client = client
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._waiting: Waiting = []

    async def get_aggregate(self, symbol: str, *, caller: str) -> Reading:
        """Return the state of one symbol, or the fallback.

        Raises:
            UnknownSymbol: the aggregator has no data for it.
            InvalidInput: the aggregator refuses the symbol.
            RateLimited: the caller asks too often.
            AggregatorUnavailable: it does not answer and the fallback is an error.
        """
        self._client.count(caller)
        return await self._begin(symbol)

    def ask(self, symbol: str, done: Callable[[Reading | Exception | None], None]) -> None:
        """Read the state of one symbol, and call ``done`` with it or with the error.

        For requests without a limit. ``done`` gets None where the gateway ends.
        """
        self._begin(symbol).add_done_callback(partial(_pass_on, done))

    def _begin(self, symbol: str) -> asyncio.Future[Reading]:
        if not self._waiting:
            self._loop.call_soon(self._read_waiting)
        future: asyncio.Future[Reading] = self._loop.create_future()
        self._waiting.append((symbol, future))
        return future

    def _read_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), MAX_SYMBOLS):
            self._tasks.create_task(self._read(waiting[start : start + MAX_SYMBOLS]))

    async def _read(self, waiting: Waiting) -> None:
        try:
            if len(waiting) == 1:
                ((symbol, future),) = waiting
                reading = await self._client.get_aggregate(symbol, caller=None)
                if not future.done():
                    future.set_result(reading)
            else:
                await self._read_many(waiting)
        except Exception as exc:
            # At the edge of a task: each request reports it to its own client.
            for _, future in waiting:
                if not future.done():
                    future.set_exception(exc)
        finally:
            # A future is left only where the task was cancelled.
            for _, future in waiting:
                future.cancel()

    async def _read_many(self, waiting: Waiting) -> None:
        symbols = list(dict.fromkeys(symbol for symbol, _ in waiting))
        try:
            readings = await self._client.get_aggregates(symbols, caller=None)
        except InvalidInput:
            # The error does not name the symbol, and concerns one client only.
            for each in waiting:
                await self._read([each])
            return
        found = {reading.symbol: reading for reading in readings.readings}
        unknown: Waiting = []
        for symbol, future in waiting:
            reading = found.get(symbol)
            if reading is None:
                unknown.append((symbol, future))
            elif not future.done():
                # Its client is connected.
                future.set_result(reading)
        for symbol, future in unknown:
            if not future.done():
                future.set_exception(await self._client.unknown(symbol))


def _pass_on(
    done: Callable[[Reading | Exception | None], None], future: asyncio.Future[Reading]
) -> None:
    error = None if future.cancelled() else future.exception()
    if error is None:
        done(None if future.cancelled() else future.result())
    else:
        done(error if isinstance(error, Exception) else None)
