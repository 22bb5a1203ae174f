"""Ask the aggregator, through the rules that keep a failing one from hurting clients.

Every door asks through :class:`AggregatorClient`, so that each gives the same answers, the same
fallback and the same errors.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, TypeVar

import grpc
import tenacity
from pybreaker import CircuitBreakerError

from gateway.backend.breaker import BreakerLimits, BreakerRule, BreakerState
from gateway.backend.circuit import Circuit
from gateway.backend.limits import RateLimits, RequestLimits
from gateway.backend.memory import LastValues
from gateway.encoding import JsonAggregate, aggregate_to_dict, empty_aggregate
from gateway.errors import AggregatorUnavailable, FieldError, InvalidInput, UnknownSymbol
from gateway.settings import Fallback, GatewaySettings
from marketdata.wire.market_data_pb2 import (
    Aggregate,
    AggregateRequest,
    AggregatesRequest,
    BarsRequest,
    BarsResponse,
    ListSymbolsRequest,
)

if TYPE_CHECKING:
    # The type of a stub on an asyncio channel; at run time there is no such class.
    from marketdata.wire.market_data_pb2_grpc import MarketDataServiceAsyncStub

Request = TypeVar("Request")
Response = TypeVar("Response")
Request_contra = TypeVar("Request_contra", contravariant=True)
Response_co = TypeVar("Response_co", covariant=True)

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]

# Worth another attempt: the next one may find the aggregator back.
RETRIED = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})

# The aggregator is alive and says no; RESOURCE_EXHAUSTED is a size limit of ours or its, and
# FAILED_PRECONDITION a store that does not answer it.
ANSWERS = frozenset(
    {
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.FAILED_PRECONDITION,
    }
)

# What a refusal by the aggregator may begin with, to say what is wrong.
_FIELD = re.compile(r"(?:symbol|interval|from|to|limit|cursor|fill)\b")

# When to come back if the breaker does not tell.
_DEFAULT_RETRY_AFTER_S = 1.0


class Call(Protocol[Request_contra, Response_co]):
    """One RPC of the aggregator, as gRPC's stubs offer it."""

    def __call__(self, request: Request_contra, /, *, timeout: float) -> Awaitable[Response_co]:
        """Return the answer, or fail within ``timeout`` seconds."""


class DataStatus(StrEnum):
    """Where a value comes from."""

    LIVE = "live"
    # The aggregator did not answer; nothing is known.
    FALLBACK = "fallback"
    # The aggregator did not answer; this is what it said last.
    LAST = "last"


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known of one symbol; no aggregate means the empty aggregate."""

    symbol: str
    aggregate: Aggregate | None
    status: DataStatus = DataStatus.LIVE
    # Time since the aggregator said so; 0 unless the status is LAST.
    age_s: float = 0.0

    def to_dict(self) -> JsonAggregate:
        """Return the JSON object of the aggregate, or of the empty one."""
        if self.aggregate is None:
            return empty_aggregate(self.symbol)
        return aggregate_to_dict(self.aggregate)


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
    """Ask the aggregator for one caller at a time.

    In this order: rate limit, one deadline for the whole call, retry, circuit breaker, attempt.
    ``caller`` is whom a rate limit by client counts. Symbols must be in normal form.

    """

    def __init__(
        self,
        stub: MarketDataServiceAsyncStub,
        settings: GatewaySettings,
        *,
        clock: Clock,
        sleep: Sleep = asyncio.sleep,
        limits: RequestLimits | None = None,
    ) -> None:
        self._stub = stub
        self._settings = settings
        self._clock = clock
        self._sleep = sleep
        self._limits = limits or RateLimits(
            settings.rate_limit,
            scope=settings.rate_limit_scope,
            max_clients=settings.rate_limit_max_clients,
        )
        self._circuit = Circuit(
            "aggregator",
            BreakerRule(
                BreakerLimits(
                    window=settings.breaker_window,
                    min_calls=settings.breaker_min_calls,
                    failure_rate=settings.breaker_failure_rate,
                    open_s=settings.breaker_open_s,
                    probes=settings.breaker_probes,
                )
            ),
            is_answer=_is_answer,
            clock=clock,
        )
        self._last_values = LastValues(settings.last_values_max)

    async def count(self, caller: str) -> None:
        """Count a request that is asked for without a ``caller`` later.

        Raises:
            RateLimited: the caller asks too often.
        """
        await self._limits.take(caller)

    async def get_aggregate(self, symbol: str, *, caller: str | None) -> Reading:
        """Return the state of one symbol, or the fallback; without a ``caller``, unlimited.

        Raises:
            UnknownSymbol: the aggregator has no data for it.
            InvalidInput: the aggregator refuses the symbol.
            RateLimited: the caller asks too often.
            AggregatorUnavailable: it does not answer and the fallback is an error.
        """
        request = AggregateRequest(symbol=symbol)
        try:
            aggregate = await self._call(self._stub.GetAggregate, request, "symbol", caller)
        except AggregatorUnavailable:
            if self._settings.fallback is Fallback.ERROR:
                raise
            return self._fall_back(symbol)
        except grpc.aio.AioRpcError as exc:
            # _call lets no other code through.
            raise UnknownSymbol(symbol) from exc
        self._remember(aggregate)
        return Reading(symbol, aggregate)

    async def get_aggregates(self, symbols: Sequence[str], *, caller: str | None) -> Readings:
        """Return the states of several symbols with one call, or the fallback for each.

        Without a ``caller`` no rate limit applies.

        Raises:
            InvalidInput: the aggregator refuses a symbol.
            RateLimited: the caller asks too often.
            AggregatorUnavailable: it does not answer and the fallback is an error.
        """
        request = AggregatesRequest(symbols=symbols)
        try:
            response = await self._call(self._stub.GetAggregates, request, "symbols", caller)
        except AggregatorUnavailable:
            if self._settings.fallback is Fallback.ERROR:
                raise
            readings = [self._fall_back(symbol) for symbol in symbols]
            remembered = any(reading.status is DataStatus.LAST for reading in readings)
            return Readings(
                readings,
                status=DataStatus.LAST if remembered else DataStatus.FALLBACK,
                age_s=max((reading.age_s for reading in readings), default=0.0),
            )
        found = {aggregate.symbol: aggregate for aggregate in response.aggregates}
        for aggregate in found.values():
            self._remember(aggregate)
        return Readings(
            [Reading(symbol, found[symbol]) for symbol in symbols if symbol in found],
            unknown=[symbol for symbol in symbols if symbol not in found],
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
        response = await self._call(self._stub.ListSymbols, request, "cursor", caller)
        return SymbolPage(list(response.symbols), response.next_cursor)

    async def get_bars(self, request: BarsRequest, *, caller: str | None) -> BarsResponse:
        """Return a page of bars; without a ``caller`` no rate limit applies.

        There is no fallback: invented bars would be wrong ones.

        Raises:
            InvalidInput: the aggregator refuses a field.
            RateLimited: the caller asks too often.
            AggregatorUnavailable: it does not answer.
        """
        return await self._call(self._stub.GetBars, request, "interval", caller)

    async def knows(self, symbol: str) -> bool:
        """Return whether the aggregator has data of ``symbol``, or may have.

        It belongs to a question that was asked already, so no rate limit applies.
        """
        try:
            await self._call(
                self._stub.GetAggregate, AggregateRequest(symbol=symbol), "symbol", None
            )
        except grpc.aio.AioRpcError:
            # _call lets no other code through than NOT_FOUND.
            return False
        except AggregatorUnavailable:
            return True
        return True

    @property
    def breaker_state(self) -> BreakerState:
        """Whether calls pass."""
        return self._circuit.state

    # Raises AioRpcError for NOT_FOUND alone, which only some RPCs have a meaning for.
    async def _call(
        self, call: Call[Request, Response], request: Request, field: str, caller: str | None
    ) -> Response:
        if caller is not None:
            await self._limits.take(caller)
        deadline = self._clock() + self._settings.deadline_s

        async def attempt() -> Response:
            # gRPC ends the attempt at its timeout; the last one ends with the whole call.
            left_s = deadline - self._clock()
            return await call(request, timeout=min(self._settings.attempt_timeout_s, left_s))

        first: BaseException | None = None

        async def again() -> Response:
            nonlocal first
            if first is not None:
                failed, first = first, None
                raise failed
            return await self._circuit.call(attempt)

        try:
            # The first attempt is most often the only one, and tenacity costs a third of a call.
            return await self._circuit.call(attempt)
        except (grpc.aio.AioRpcError, CircuitBreakerError) as exc:
            first = exc
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(_is_worth_retrying),
            wait=tenacity.wait_fixed(self._settings.retry_wait_s),
            stop=tenacity.stop_any(
                tenacity.stop_after_attempt(self._settings.retry_attempts),
                _StopBefore(deadline, self._clock),
            ),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return await retrying(again)
        except CircuitBreakerError as exc:
            raise self._unavailable(str(exc)) from exc
        except grpc.aio.AioRpcError as exc:
            if exc.code() is grpc.StatusCode.NOT_FOUND:
                raise
            if exc.code() is grpc.StatusCode.INVALID_ARGUMENT:
                detail = exc.details() or "refused by the aggregator"
                named = _FIELD.match(detail)
                raise InvalidInput([FieldError(named[0] if named else field, detail)]) from exc
            if exc.code() is grpc.StatusCode.FAILED_PRECONDITION:
                raise self._unavailable(exc.details() or exc.code().name) from exc
            raise self._unavailable(exc.code().name) from exc

    def _unavailable(self, reason: str) -> AggregatorUnavailable:
        retry_after_s = self._circuit.refuses_for_s() or _DEFAULT_RETRY_AFTER_S
        return AggregatorUnavailable(reason, retry_after_s)

    def _remember(self, aggregate: Aggregate) -> None:
        if self._settings.fallback is Fallback.LAST:
            self._last_values.remember(aggregate, self._clock())

    def _fall_back(self, symbol: str) -> Reading:
        known = self._last_values.recall(symbol, self._clock())
        if known is None:
            return Reading(symbol, None, DataStatus.FALLBACK)
        aggregate, age_s = known
        return Reading(symbol, aggregate, DataStatus.LAST, age_s)


class _StopBefore(tenacity.stop.stop_base):
    """Stop when the pause would reach the deadline; tenacity's own takes no clock."""

    def __init__(self, deadline: float, clock: Clock) -> None:
        self._deadline = deadline
        self._clock = clock

    def __call__(self, retry_state: tenacity.RetryCallState) -> bool:
        return self._clock() + retry_state.upcoming_sleep >= self._deadline


def _is_worth_retrying(error: BaseException) -> bool:
    return isinstance(error, grpc.aio.AioRpcError) and error.code() in RETRIED


def _is_answer(error: BaseException) -> bool:
    return isinstance(error, grpc.aio.AioRpcError) and error.code() in ANSWERS
