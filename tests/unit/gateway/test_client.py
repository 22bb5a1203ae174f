"""The client of all endpoints: order of the rules, retries, deadline, fallback."""

# ruff: noqa: ASYNC109, N802  gRPC gives the names

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata
from hypothesis import given
from hypothesis import strategies as st

from gateway.backend.client import AggregatorClient, DataStatus, Reading
from gateway.errors import AggregatorUnavailable, InvalidInput, RateLimited, UnknownSymbol
from gateway.kernel.encoder import EncodedState, encode_in_python
from gateway.settings import GatewaySettings
from marketdata.wire.market_data_pb2 import (
    Aggregate,
    AggregateRequest,
    AggregatesRequest,
    AggregatesResponse,
    ListSymbolsRequest,
    ListSymbolsResponse,
)

Code = grpc.StatusCode
UNAVAILABLE, NOT_FOUND = Code.UNAVAILABLE, Code.NOT_FOUND
AAPL = Aggregate(symbol="AAPL", close=151.5, sequence=1, epoch=1)
MSFT = Aggregate(symbol="MSFT", close=420.0, sequence=1, epoch=1)


def state_of(aggregate: Aggregate) -> EncodedState:
    return encode_in_python(aggregate.SerializeToString())


# None is an answer, HANGS waits until the attempt's time is over.
HANGS = Code.DEADLINE_EXCEEDED
Outcome = Code | None


class Aggregator:
    """Stand in for the stub, with a clock that attempts and pauses move on.

    :attr:`log` tells what happened: (time, "call", timeout) and (time, "pause", seconds).

    """

    def __init__(self, **settings: Any) -> None:
        self.now = 100.0
        self.log: list[tuple[float, str, float]] = []
        self.requests: list[object] = []
        self.script: list[Outcome] = []
        self.otherwise: Outcome = None
        self.attempt_takes_s = 0.0
        self.client = AggregatorClient(
            cast("Any", self),
            GatewaySettings.model_validate({"rate_limit": 0, **settings}),
            clock=lambda: self.now,
            sleep=self._pause,
        )

    @property
    def attempts(self) -> int:
        return len(self.requests)

    def set_down(self) -> None:
        self.otherwise = UNAVAILABLE

    def set_up(self) -> None:
        self.otherwise = None

    async def GetAggregate(self, request: AggregateRequest, *, timeout: float) -> Aggregate:
        await self._attempt(request, timeout)
        return MSFT if request.symbol == "MSFT" else AAPL

    async def GetAggregates(
        self,
        request: AggregatesRequest,
        *,
        timeout: float,
    ) -> AggregatesResponse:
        await self._attempt(request, timeout)
        known = [each for each in (MSFT, AAPL) if each.symbol in request.symbols]
        return AggregatesResponse(aggregates=known)

    async def ListSymbols(
        self,
        request: ListSymbolsRequest,
        *,
        timeout: float,
    ) -> ListSymbolsResponse:
        await self._attempt(request, timeout)
        return ListSymbolsResponse(symbols=["AAPL", "MSFT"], next_cursor="MSFT")

    async def _attempt(self, request: object, timeout: float) -> None:
        self.log.append((round(self.now - 100, 6), "call", round(timeout, 6)))
        self.requests.append(request)
        outcome = self.script.pop(0) if self.script else self.otherwise
        self.now += timeout if outcome is HANGS else self.attempt_takes_s
        if outcome is not None:
            raise AioRpcError(outcome, Metadata(), Metadata(), "details")

    async def _pause(self, seconds: float) -> None:
        self.log.append((round(self.now - 100, 6), "pause", seconds))
        self.now += seconds


async def ask(aggregator: Aggregator, caller: str = "me") -> Reading:
    return await aggregator.client.get_aggregate("AAPL", caller=caller)


async def test_an_answer_is_live() -> None:
    aggregator = Aggregator()
    assert await ask(aggregator) == Reading("AAPL", state_of(AAPL), DataStatus.LIVE, 0.0)
    assert aggregator.requests == [AggregateRequest(symbol="AAPL")]
    assert aggregator.log == [(0.0, "call", 0.5)]


async def test_three_attempts_half_a_second_apart() -> None:
    aggregator = Aggregator()
    aggregator.set_down()
    assert (await ask(aggregator)).status is DataStatus.FALLBACK
    assert aggregator.log == [
        (0.0, "call", 0.5),
        (0.0, "pause", 0.5),
        (0.5, "call", 0.5),
        (0.5, "pause", 0.5),
        (1.0, "call", 0.5),
    ]


@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED])
async def test_an_attempt_that_failed_is_made_again(code: Code) -> None:
    aggregator = Aggregator()
    aggregator.script = [code, code]
    assert (await ask(aggregator)).status is DataStatus.LIVE
    assert aggregator.attempts == 3


# What is neither tried again nor an answer with a meaning of its own.
BROKEN = [
    Code.CANCELLED,
    Code.UNKNOWN,
    Code.ALREADY_EXISTS,
    Code.PERMISSION_DENIED,
    Code.UNAUTHENTICATED,
    Code.RESOURCE_EXHAUSTED,
    Code.FAILED_PRECONDITION,
    Code.ABORTED,
    Code.UNIMPLEMENTED,
    Code.INTERNAL,
    Code.DATA_LOSS,
    Code.OUT_OF_RANGE,
]


@pytest.mark.parametrize("code", BROKEN)
async def test_any_other_code_falls_back_at_once(code: Code) -> None:
    aggregator = Aggregator()
    aggregator.script = [code]
    assert (await ask(aggregator)).status is DataStatus.FALLBACK
    assert aggregator.attempts == 1


async def test_a_hung_aggregator_costs_the_deadline_and_no_more() -> None:
    aggregator = Aggregator()
    aggregator.otherwise = HANGS
    await ask(aggregator)
    assert aggregator.attempts == 3
    assert aggregator.now == pytest.approx(102.5)


@pytest.mark.parametrize(
    ("deadline_s", "log"),
    [
        # The pause would end at the deadline: nothing could be asked after it.
        (1.0, [(0.0, "call", 0.5)]),
        (1.2, [(0.0, "call", 0.5), (0.5, "pause", 0.5), (1.0, "call", 0.2)]),
        (0.3, [(0.0, "call", 0.3)]),
    ],
)
async def test_attempts_and_pauses_stay_within_the_deadline(
    deadline_s: float, log: list[tuple[float, str, float]]
) -> None:
    aggregator = Aggregator(deadline_s=deadline_s)
    aggregator.otherwise = HANGS
    await ask(aggregator)
    assert aggregator.log == log


async def test_each_number_is_a_setting() -> None:
    aggregator = Aggregator(retry_attempts=2, retry_wait_s=0.1, attempt_timeout_s=0.2)
    aggregator.set_down()
    await ask(aggregator)
    assert aggregator.log == [(0.0, "call", 0.2), (0.0, "pause", 0.1), (0.1, "call", 0.2)]


async def test_the_breaker_counts_attempts_and_cuts_retries_short() -> None:
    aggregator = Aggregator()
    aggregator.set_down()
    await ask(aggregator)
    await ask(aggregator)
    # Three attempts, then two more: with the fifth failure the breaker is open.
    assert aggregator.attempts == 5
    before = aggregator.now
    assert (await ask(aggregator)).status is DataStatus.FALLBACK
    assert (aggregator.attempts, aggregator.now) == (5, before)


async def test_the_breaker_recovers_by_itself() -> None:
    aggregator = Aggregator(retry_attempts=1)
    aggregator.set_down()
    for _ in range(6):
        await ask(aggregator)
    aggregator.set_up()
    aggregator.now += 4.9
    assert (await ask(aggregator)).status is DataStatus.FALLBACK
    aggregator.now += 0.1
    assert [(await ask(aggregator)).status for _ in range(10)] == [DataStatus.LIVE] * 10


async def test_an_unknown_symbol_is_no_failure_of_the_aggregator() -> None:
    aggregator = Aggregator()
    aggregator.otherwise = NOT_FOUND
    for _ in range(20):
        with pytest.raises(UnknownSymbol, match="there is no data for symbol AAPL"):
            await ask(aggregator)
    # Each is followed by the question whether there is an aapl.
    assert aggregator.attempts == 40


async def test_a_refused_argument_names_the_field() -> None:
    aggregator = Aggregator()
    aggregator.otherwise = Code.INVALID_ARGUMENT
    for _ in range(20):
        with pytest.raises(InvalidInput, match="symbol: details"):
            await ask(aggregator)
    assert aggregator.attempts == 20


@pytest.mark.parametrize("code", [Code.RESOURCE_EXHAUSTED, Code.FAILED_PRECONDITION])
async def test_a_size_limit_or_a_store_away_falls_back_and_does_not_open_the_breaker(
    code: Code,
) -> None:
    aggregator = Aggregator()
    aggregator.otherwise = code
    for _ in range(20):
        assert (await ask(aggregator)).status is DataStatus.FALLBACK
    assert aggregator.attempts == 20


async def test_a_request_over_the_limit_never_reaches_aggregator_or_breaker() -> None:
    aggregator = Aggregator(rate_limit=0.001)
    await ask(aggregator)
    for _ in range(20):
        with pytest.raises(RateLimited):
            await ask(aggregator)
    assert aggregator.attempts == 1


async def test_the_limit_counts_requests_and_not_attempts() -> None:
    aggregator = Aggregator(rate_limit=0.001)
    aggregator.set_down()
    await ask(aggregator)
    assert aggregator.attempts == 3


async def test_the_limit_by_client_counts_the_caller() -> None:
    aggregator = Aggregator(rate_limit=0.001, rate_limit_scope="client")
    await ask(aggregator, "a")
    await ask(aggregator, "b")
    with pytest.raises(RateLimited):
        await ask(aggregator, "a")


async def test_a_client_that_goes_away_takes_its_call_along() -> None:
    aggregator = Aggregator()
    aggregator.set_down()
    started = asyncio.Event()

    async def pause_forever(_: float) -> None:
        started.set()
        await asyncio.Event().wait()

    aggregator.client._calls._sleep = pause_forever
    task = asyncio.create_task(ask(aggregator))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert aggregator.attempts == 1


async def test_the_last_fallback_is_what_was_last_known_and_its_age() -> None:
    aggregator = Aggregator(fallback="last", retry_attempts=1)
    await ask(aggregator)
    aggregator.now += 7
    aggregator.set_down()
    assert await ask(aggregator) == Reading("AAPL", state_of(AAPL), DataStatus.LAST, 7.0)


async def test_the_last_fallback_of_what_was_never_known_is_empty() -> None:
    aggregator = Aggregator(fallback="last", retry_attempts=1)
    aggregator.set_down()
    assert await ask(aggregator) == Reading("AAPL", None, DataStatus.FALLBACK)


async def test_the_empty_fallback_remembers_nothing() -> None:
    aggregator = Aggregator(fallback="empty", retry_attempts=1)
    await ask(aggregator)
    aggregator.set_down()
    assert await ask(aggregator) == Reading("AAPL", None, DataStatus.FALLBACK)


async def test_the_error_fallback_says_when_to_come_back() -> None:
    aggregator = Aggregator(fallback="error", retry_attempts=1)
    aggregator.set_down()
    for _ in range(5):
        with pytest.raises(AggregatorUnavailable, match="UNAVAILABLE") as caught:
            await ask(aggregator)
    assert caught.value.retry_after_s == 5.0
    aggregator.now += 2
    with pytest.raises(AggregatorUnavailable, match="circuit breaker is open") as caught:
        await ask(aggregator)
    assert caught.value.retry_after_s == 3.0


async def test_several_symbols_are_one_call() -> None:
    aggregator = Aggregator()
    readings = await aggregator.client.get_aggregates(["AAPL", "NIX", "MSFT"], caller="me")
    assert readings.readings == [Reading("AAPL", state_of(AAPL)), Reading("MSFT", state_of(MSFT))]
    assert readings.unknown == ["NIX"]
    assert readings.status is DataStatus.LIVE
    assert aggregator.requests == [AggregatesRequest(symbols=["AAPL", "NIX", "MSFT"])]


async def test_several_symbols_fall_back_each() -> None:
    aggregator = Aggregator()
    aggregator.set_down()
    readings = await aggregator.client.get_aggregates(["AAPL", "MSFT"], caller="me")
    assert [reading.aggregate for reading in readings.readings] == [None, None]
    assert (readings.unknown, readings.status) == ((), DataStatus.FALLBACK)


async def test_several_symbols_of_which_one_is_remembered_are_last() -> None:
    aggregator = Aggregator(fallback="last")
    await ask(aggregator)
    aggregator.now += 3
    await aggregator.client.get_aggregates(["MSFT"], caller="me")
    aggregator.set_down()
    readings = await aggregator.client.get_aggregates(["AAPL", "NIX", "MSFT"], caller="me")
    assert [reading.aggregate for reading in readings.readings] == [AAPL, None, MSFT]
    assert (readings.status, round(readings.age_s)) == (DataStatus.LAST, 4)


async def test_symbols_are_listed_a_page_at_a_time() -> None:
    aggregator = Aggregator()
    page = await aggregator.client.list_symbols(prefix="A", limit=2, cursor="AA", caller="me")
    assert (page.symbols, page.next_cursor) == (["AAPL", "MSFT"], "MSFT")
    assert aggregator.requests == [ListSymbolsRequest(prefix="A", limit=2, cursor="AA")]


@pytest.mark.parametrize("fallback", ["empty", "last", "error"])
async def test_a_list_of_symbols_is_never_invented(fallback: str) -> None:
    aggregator = Aggregator(fallback=fallback)
    aggregator.set_down()
    with pytest.raises(AggregatorUnavailable):
        await aggregator.client.list_symbols(prefix="", limit=2, cursor="", caller="me")
    assert aggregator.attempts == 3


async def test_all_calls_share_one_breaker() -> None:
    aggregator = Aggregator(retry_attempts=1)
    aggregator.set_down()
    client = aggregator.client
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: client.get_aggregate("AAPL", caller="me"),
        lambda: client.get_aggregates(["AAPL"], caller="me"),
    ]
    for call in calls * 3:
        await call()
    assert aggregator.attempts == 5


class Stream:
    """Stand in for the stream of reads, with the attempts of an aggregator."""

    is_missing = False

    def __init__(self, aggregator: Aggregator) -> None:
        self._aggregator = aggregator

    async def __call__(self, symbols: Sequence[str], /, *, timeout: float) -> list[EncodedState]:
        await self._aggregator._attempt(symbols, timeout)
        return [state_of(each) for each in (AAPL, MSFT) if each.symbol in symbols]

    def begin(self, symbols: Sequence[str], timeout_s: float, done: Callable[[Any], None]) -> None:
        # Nothing is awaited.
        try:
            self(symbols, timeout=timeout_s).send(None)
        except StopIteration as answer:
            done(answer.value)
        except AioRpcError as exc:
            done(exc)


OUTCOMES = st.sampled_from([None, HANGS, *Code])


@given(
    script=st.lists(st.lists(OUTCOMES, max_size=4), max_size=12),
    fallback=st.sampled_from(["empty", "last", "error"]),
    pauses_s=st.lists(st.sampled_from([0.0, 1.0, 5.0]), min_size=12, max_size=12),
)
async def test_a_read_without_a_task_is_as_one_with_a_task(
    script: list[list[Outcome]], fallback: str, pauses_s: list[float]
) -> None:
    awaiting, beginning = (Aggregator(fallback=fallback, breaker_min_calls=2) for _ in range(2))
    for aggregator in (awaiting, beginning):
        aggregator.client._stream = aggregator.client._reads = cast("Any", Stream(aggregator))
    for outcomes, pause_s in zip(script, pauses_s, strict=False):
        found: list[Any] = []
        if Code.UNIMPLEMENTED in outcomes:
            # The real stream takes another way, see its own tests.
            continue
        for aggregator in (awaiting, beginning):
            aggregator.script = [code if code is not Code.OK else None for code in outcomes]
            aggregator.now += pause_s
        try:
            asked = awaiting.client._read(["AAPL", "NIX"], field="symbol", caller=None)
            found.append(await asked)
        except Exception as exc:
            found.append(exc)
        async with asyncio.TaskGroup() as tasks:
            beginning.client.begin_reading(["AAPL", "NIX"], found.append, tasks)
        first, second = found
        assert type(first) is type(second)
        assert vars(first) == vars(second) if isinstance(first, Exception) else first == second
        assert beginning.log == awaiting.log
        assert beginning.client.breaker_state is awaiting.client.breaker_state
