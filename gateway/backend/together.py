"""Answer reads of several clients with one call to the aggregator."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import structlog

from gateway.backend.client import AggregatorClient, Reading, Readings
from gateway.errors import InvalidInput

log = structlog.get_logger()

Outcome = Reading | Exception | None
Done = Callable[[Outcome], None]
Waiting = list[tuple[str, Done]]

# In one call; the aggregator takes 10,000.
MAX_SYMBOLS = 500


class ReadsTogether:
    """Read states of single symbols: one call for all reads of one turn of the event loop.

    A call costs the gateway more than the rest of a request. A read never uses a call that began
    before it: the response may lack data that the client knows to exist.

    Args:
        client: calls the aggregator.
        tasks: where further attempts run, so that a client that disconnects ends no call of others.
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
        future: asyncio.Future[Reading] = self._loop.create_future()
        self.ask(symbol, partial(_settle, future))
        return await future

    def ask(self, symbol: str, done: Done) -> None:
        """Read the state of one symbol, and call ``done`` with it or with the error.

        For requests without a limit. ``done`` gets None where the gateway ends.
        """
        if not self._waiting:
            self._loop.call_soon(self._read_waiting)
        self._waiting.append((symbol, done))

    def _read_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), MAX_SYMBOLS):
            self._read(waiting[start : start + MAX_SYMBOLS])

    def _read(self, waiting: Waiting) -> None:
        symbols = list(dict.fromkeys(symbol for symbol, _ in waiting))
        self._client.begin_reading(symbols, partial(self._answer, waiting), self._tasks)

    def _answer(self, waiting: Waiting, outcome: Readings | Exception | None) -> None:
        if isinstance(outcome, Readings):
            found = {reading.symbol: reading for reading in outcome.readings}
            for symbol, done in waiting:
                reading = found.get(symbol)
                if reading is None:
                    self._tasks.create_task(self._say_unknown(symbol, done))
                else:
                    _tell(done, reading)
        elif isinstance(outcome, InvalidInput) and len(waiting) > 1:
            # The error does not name the symbol, and concerns one client only.
            for each in waiting:
                self._read([each])
        else:
            for _, done in waiting:
                _tell(done, outcome)

    async def _say_unknown(self, symbol: str, done: Done) -> None:
        outcome: Exception | None = None
        try:
            outcome = await self._client.unknown(symbol)
        except Exception as exc:
            # At the edge of a task: the request reports it to its client.
            outcome = exc
        finally:
            _tell(done, outcome)


def _tell(done: Done, outcome: Outcome) -> None:
    try:
        done(outcome)
    except Exception:
        # At the edge of a request: the others get their answers.
        log.exception("read_failed")


def _settle(future: asyncio.Future[Reading], outcome: Outcome) -> None:
    if future.done():
        # Its client has left.
        return
    if outcome is None:
        future.cancel()
    elif isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
