"""Read the aggregator for all endpoints: the same answers, fallback and errors at each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import grpc

from gateway.backend.breaker import BreakerState
from gateway.backend.calls import Calls, Clock, Sleep
from gateway.backend.memory import LastValues
from gateway.backend.read_stream import ReadStream
from gateway.backend.unary_reads import UnaryReads
from gateway.encoding import JsonAggregate, aggregate_to_dict, empty_aggregate, encode_json
from gateway.errors import AggregatorUnavailable, InvalidInput, UnknownSymbol, UnknownView
from gateway.kernel.encoder import EncodedState
from gateway.settings import Fallback, GatewaySettings
from marketdata.symbols import in_other_case
from marketdata.wire.market_data_pb2 import (
    Aggregate,
    BarsRequest,
    BarsResponse,
    ListSymbolsRequest,
    ViewRequest,
)

if TYPE_CHECKING:
    # The type of a stub on an asyncio channel; at run time there is no such class.
    from marketdata.wire.market_data_pb2_grpc import MarketDataServiceAsyncStub


class DataStatus(StrEnum):
    """Where a value comes from."""

    LIVE = "live"
    # The aggregator did not answer; nothing is known.
    FALLBACK = "fallback"
    # The aggregator did not answer; this is what it said last.
    LAST = "last"


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known of one symbol; no state means the empty aggregate."""

    symbol: str
    state: EncodedState | None
    status: DataStatus = DataStatus.LIVE
    # Time since the aggregator said so; 0 unless the status is LAST.
    age_s: float = 0.0

    @property
    def aggregate(self) -> Aggregate | None:
        """The state as a message."""
        return None if self.state is None else Aggregate.FromString(self.state.data)

    @property
    def json(self) -> bytes:
        """The JSON of :meth:`to_dict`."""
        return encode_json(empty_aggregate(self.symbol)) if self.state is None else self.state.json

    def to_dict(self) -> JsonAggregate:
        """Return the JSON object of the aggregate, or of the empty one."""
        aggregate = self.aggregate
        return empty_aggregate(self.symbol) if aggregate is None else aggregate_to_dict(aggregate)


@dataclass(frozen=True, slots=True)
class Readings:
    """What is known of several symbols, in the order they were asked for."""

    readings: Sequence[Reading]
    # Symbols the aggregator has no data for.
    unknown: Sequence[str] = ()
    # LAST if at least one value is remembered; its oldest gives the age.
    status: DataStatus = DataStatus.LIVE
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class SymbolPage:
    """Some of the symbols, in byte order."""

    symbols: Sequence[str]
    # Empty when there are no more.
    next_cursor: str


class AggregatorClient:
    """Read the aggregator, through :class:`Calls`.

    ``caller`` is whom a rate limit by client counts; None: the request was counted already.
    Symbols must be in normal form.

    Args:
        stub: has the RPCs.
        settings: the operator's settings.
        clock: seconds on a clock that never goes back.
        sleep: pauses between attempts.
        stream: reads states; None: unary calls do.
    """

    def __init__(
        self,
        stub: MarketDataServiceAsyncStub,
        settings: GatewaySettings,
        *,
        clock: Clock,
        sleep: Sleep = asyncio.sleep,
        stream: ReadStream | None = None,
    ) -> None:
        self._stub = stub
        self._stream = stream
        self._reads = stream or UnaryReads(stub)
        self._fallback = settings.fallback
        self._clock = clock
        self._calls = Calls(settings, clock=clock, sleep=sleep)
        self._last_values = LastValues(settings.last_values_max)

    @property
    def breaker_state(self) -> BreakerState:
        """Whether calls pass."""
        return self._calls.breaker_state

    def count(self, caller: str) -> None:
        """Count a request, for which a read without a ``caller`` follows.

        Raises:
            RateLimited: the caller asks too often.
        """
        self._calls.count(caller)

    async def get_aggregate(self, symbol: str, *, caller: str | None) -> Reading:
        """Return the state of one symbol, or the fallback.

        Raises:
            UnknownSymbol: the aggregator has no data for it.
            InvalidInput: the aggregator refuses the symbol.
            RateLimited: the caller asks too often.
            AggregatorUnavailable: it does not answer and the fallback is an error.
        """
        readings = await self._read([symbol], field="symbol", caller=caller)
        if not readings.readings:
            raise await self.unknown(symbol)
        return readings.readings[0]

    async def get_aggregates(self, symbols: Sequence[str], *, caller: str | None) -> Readings:
        """Return the states of several symbols with one call, or the fallback for each.

        Raises:
            InvalidInput: the aggregator refuses a symbol.
            RateLimited: the caller asks too often.
            AggregatorUnavailable: it does not answer and the fallback is an error.
        """
        return await self._read(symbols, field="symbols", caller=caller)

    def begin_reading(
        self,
        symbols: Sequence[str],
        done: Callable[[Readings | Exception | None], None],
        tasks: asyncio.TaskGroup,
    ) -> None:
        """Call ``done`` once with what :meth:`get_aggregates` would return or raise.

        The request was counted already. A read that the first attempt answers needs no task.
        ``done`` gets None where the gateway ends.
        """

        def end(answer: list[EncodedState] | Exception | None) -> None:
            if isinstance(answer, list):
                done(self._readings_of(symbols, answer))
            elif isinstance(answer, AggregatorUnavailable) and self._fallback is not Fallback.ERROR:
                done(self._fall_back_all(symbols))
            else:
                done(answer)

        if self._stream is not None and not self._stream.is_missing:
            self._calls.begin(self._stream, symbols, end, field="symbol", tasks=tasks)
            return

        async def read() -> None:
            outcome: Readings | Exception | None = None
            try:
                outcome = await self._read(symbols, field="symbol", caller=None)
            except Exception as exc:
                # At the edge of a task: each request reports it to its own client.
                outcome = exc
            finally:
                done(outcome)

        tasks.create_task(read())

    async def _read(self, symbols: Sequence[str], *, field: str, caller: str | None) -> Readings:
        try:
            states = await self._calls.call(self._reads, symbols, field=field, caller=caller)
        except AggregatorUnavailable:
            if self._fallback is Fallback.ERROR:
                raise
            return self._fall_back_all(symbols)
        return self._readings_of(symbols, states)

    def _readings_of(self, symbols: Sequence[str], states: Sequence[EncodedState]) -> Readings:
        if self._fallback is Fallback.LAST:
            now = self._clock()
            for state in states:
                self._last_values.remember(state, now)
        found = {state.symbol.decode(): state for state in states}
        return Readings(
            [Reading(symbol, found[symbol]) for symbol in symbols if symbol in found],
            unknown=[symbol for symbol in symbols if symbol not in found],
        )

    def _fall_back_all(self, symbols: Sequence[str]) -> Readings:
        readings = [self._fall_back(symbol) for symbol in symbols]
        remembered = any(reading.status is DataStatus.LAST for reading in readings)
        return Readings(
            readings,
            status=DataStatus.LAST if remembered else DataStatus.FALLBACK,
            age_s=max((reading.age_s for reading in readings), default=0.0),
        )

    async def list_symbols(
        self, *, prefix: str, limit: int, cursor: str, caller: str
    ) -> SymbolPage:
        """Return the symbols that begin with ``prefix`` and come after ``cursor``.

        There is no fallback: an invented list would be a wrong one.

        Raises:
            InvalidInput: the aggregator refuses the prefix or the cursor.
            RateLimited: the caller asks too often.
            AggregatorUnavailable: it does not answer.
        """
        request = ListSymbolsRequest(prefix=prefix, limit=limit, cursor=cursor)
        response = await self._calls.call(
            self._stub.ListSymbols, request, field="cursor", caller=caller
        )
        return SymbolPage(list(response.symbols), response.next_cursor)

    async def get_bars(self, request: BarsRequest, *, caller: str | None) -> BarsResponse:
        """Return a page of bars.

        There is no fallback: invented bars would be wrong ones.

        Raises:
            InvalidInput: the aggregator refuses a field.
            RateLimited: the caller asks too often.
            AggregatorUnavailable: it does not answer.
        """
        return await self._calls.call(self._stub.GetBars, request, field="interval", caller=caller)

    async def get_view(self, view: str, symbol: str, *, caller: str) -> bytes:
        """Return what a view knows of one symbol, as JSON.

        Raises:
            UnknownSymbol: it knows nothing of it.
            UnknownView: the aggregator does not keep it.
            InvalidInput: the aggregator refuses the symbol.
            RateLimited: the caller asks too often.
            AggregatorUnavailable: it does not answer.
        """
        request = ViewRequest(view=view, symbol=symbol)
        try:
            response = await self._calls.call(
                self._stub.GetView, request, field="view", caller=caller
            )
        except InvalidInput as exc:
            if exc.errors[0].field == "view":
                raise UnknownView(exc.errors[0].detail) from exc
            raise
        except grpc.aio.AioRpcError as exc:
            # Only NOT_FOUND comes this way.
            raise await self.unknown(symbol) from exc
        return response.json

    async def knows(self, symbol: str) -> bool:
        """Return whether the aggregator has data of ``symbol``, or may have.

        It belongs to a request that was counted already, so no rate limit applies.
        """
        try:
            return bool(await self._calls.call(self._reads, [symbol], field="symbol", caller=None))
        except AggregatorUnavailable:
            return True

    async def unknown(self, symbol: str) -> UnknownSymbol:
        """Return the error that there is no data for ``symbol``.

        It names a symbol that differs only in case, if there is one. No rate limit applies.
        """
        similar = in_other_case(symbol)
        if not similar:
            return UnknownSymbol(symbol)
        try:
            states = await self._calls.call(self._reads, similar, field="symbol", caller=None)
        except (AggregatorUnavailable, InvalidInput):
            # A hint is not worth an error.
            return UnknownSymbol(symbol)
        return UnknownSymbol(symbol, states[0].symbol.decode() if states else "")

    def _fall_back(self, symbol: str) -> Reading:
        known = self._last_values.recall(symbol, self._clock())
        if known is None:
            return Reading(symbol, None, DataStatus.FALLBACK)
        state, age_s = known
        return Reading(symbol, state, DataStatus.LAST, age_s)
