"""Call the aggregator so that a failing one does not hurt clients.

Each call goes through the same steps, in this order::

    rate limit ──▶ one deadline ──▶ retry ──▶ circuit breaker ──▶ attempt

The rate limit counts requests, the breaker counts attempts.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol, TypeVar

import grpc
import tenacity
from pybreaker import CircuitBreakerError

from gateway.backend.breaker import BreakerLimits, BreakerRule, BreakerState
from gateway.backend.circuit import Circuit
from gateway.backend.limits import RateLimits
from gateway.errors import AggregatorUnavailable, FieldError, InvalidInput
from gateway.settings import GatewaySettings

Request = TypeVar("Request")
Response = TypeVar("Response")
Request_contra = TypeVar("Request_contra", contravariant=True)
Response_co = TypeVar("Response_co", covariant=True)

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]

# Worth another attempt: the next one may find the aggregator back.
RETRIED = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})

# The aggregator is alive and refuses; RESOURCE_EXHAUSTED is a size limit on either side, and
# FAILED_PRECONDITION a store that does not answer the aggregator.
ANSWERS = frozenset(
    {
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.FAILED_PRECONDITION,
    }
)

# A refusal by the aggregator may begin with the field that is wrong.
_FIELD = re.compile(r"(?:symbol|interval|from|to|limit|cursor|fill)\b")

# When to come back, unless the breaker knows better.
_DEFAULT_RETRY_AFTER_S = 1.0


class Rpc(Protocol[Request_contra, Response_co]):
    """One RPC of the aggregator, as gRPC's stubs offer it."""

    def __call__(self, request: Request_contra, /, *, timeout: float) -> Awaitable[Response_co]:
        """Return the response, or fail within ``timeout`` seconds."""


class CallbackRpc(Rpc[Request_contra, Response_co], Protocol):
    """One RPC that needs no task."""

    def begin(
        self,
        request: Request_contra,
        timeout_s: float,
        done: Callable[[Response_co | grpc.aio.AioRpcError], None],
    ) -> None:
        """Call ``done`` once with the response or the error.

        UNIMPLEMENTED is no error of a call: awaited, it goes another way.
        """


class Calls:
    """Make the calls of all clients; they share the rate limit and the breaker."""

    def __init__(self, settings: GatewaySettings, *, clock: Clock, sleep: Sleep) -> None:
        self._settings = settings
        self._clock = clock
        self._sleep = sleep
        self._limits = RateLimits(
            settings.rate_limit,
            scope=settings.rate_limit_scope,
            max_clients=settings.rate_limit_max_clients,
            clock=clock,
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

    @property
    def breaker_state(self) -> BreakerState:
        """Whether calls pass."""
        return self._circuit.state

    def count(self, caller: str) -> None:
        """Count one request of ``caller``.

        Raises:
            RateLimited: the caller asks too often.
        """
        self._limits.take(caller)

    async def call(
        self, rpc: Rpc[Request, Response], request: Request, *, field: str, caller: str | None
    ) -> Response:
        """Return the response of the aggregator.

        Args:
            rpc: what is called.
            request: its argument.
            field: the field of a refused request, unless the aggregator names another.
            caller: whom a rate limit by client counts; None: the request was counted already.

        Raises:
            RateLimited: the caller asks too often.
            InvalidInput: the aggregator refuses the request.
            AggregatorUnavailable: the aggregator does not answer, or the breaker is open.
            grpc.aio.AioRpcError: NOT_FOUND, which only some RPCs give a meaning.
        """
        if caller is not None:
            self._limits.take(caller)
        deadline = self._clock() + self._settings.deadline_s
        attempt = partial(self._circuit.call, partial(self._attempt, rpc, request, deadline))
        try:
            try:
                # Most often the only attempt. tenacity would add 19 us.
                return await attempt()
            except grpc.aio.AioRpcError as exc:
                if not _is_worth_retrying(exc):
                    raise
                return await self._retry(attempt, exc, deadline)
        except (CircuitBreakerError, grpc.aio.AioRpcError) as exc:
            error = self._error_of(exc, field)
            if error is exc:
                raise
            raise error from exc

    def begin(
        self,
        rpc: CallbackRpc[Request, Response],
        request: Request,
        done: Callable[[Response | Exception | None], None],
        *,
        field: str,
        tasks: asyncio.TaskGroup,
    ) -> None:
        """Call ``done`` once with what :meth:`call` would return or raise, maybe at once.

        A call that the first attempt answers needs no task; further attempts are made in one. The
        request was counted already. ``done`` gets None where the gateway ends.
        """
        deadline = self._clock() + self._settings.deadline_s
        try:
            permit = self._circuit.begin()
        except CircuitBreakerError as exc:
            done(self._error_of(exc, field))
            return

        def end(answer: Response | grpc.aio.AioRpcError) -> None:
            if not isinstance(answer, grpc.aio.AioRpcError):
                self._circuit.end(permit)
                done(answer)
                return
            if answer.code() is grpc.StatusCode.UNIMPLEMENTED:
                # Not an attempt: ``rpc`` knows another way, which it takes when it is awaited.
                self._circuit.give_back(permit)
                tasks.create_task(finish(self.call(rpc, request, field=field, caller=None)))
                return
            self._circuit.end(permit, answer)
            if _is_worth_retrying(answer):
                attempt = partial(self._attempt, rpc, request, deadline)
                retrying = self._retry(partial(self._circuit.call, attempt), answer, deadline)
                tasks.create_task(finish(retrying))
            else:
                done(self._error_of(answer, field))

        async def finish(response: Awaitable[Response]) -> None:
            try:
                outcome: Response | Exception = await response
            except (CircuitBreakerError, grpc.aio.AioRpcError) as exc:
                outcome = self._error_of(exc, field)
            except Exception as exc:
                outcome = exc
            except asyncio.CancelledError:
                done(None)
                raise
            done(outcome)

        rpc.begin(request, min(self._settings.attempt_timeout_s, self._settings.deadline_s), end)

    def _error_of(self, error: CircuitBreakerError | grpc.aio.AioRpcError, field: str) -> Exception:
        if not isinstance(error, grpc.aio.AioRpcError):
            return self._unavailable(str(error))
        code = error.code()
        if code is grpc.StatusCode.NOT_FOUND:
            return error
        if code is grpc.StatusCode.INVALID_ARGUMENT:
            detail = error.details() or "refused by the aggregator"
            named = _FIELD.match(detail)
            return InvalidInput([FieldError(named[0] if named else field, detail)])
        if code is grpc.StatusCode.FAILED_PRECONDITION:
            return self._unavailable(error.details() or code.name)
        return self._unavailable(code.name)

    async def _retry(
        self,
        attempt: Callable[[], Awaitable[Response]],
        first: grpc.aio.AioRpcError,
        deadline: float,
    ) -> Response:
        async def next_attempt() -> Response:
            # tenacity counts the first attempt and pauses after it.
            if retrying.statistics["attempt_number"] == 1:
                raise first
            return await attempt()

        def is_last(state: tenacity.RetryCallState) -> bool:
            # Nothing could be asked after a pause that reaches the deadline.
            is_late = self._clock() + state.upcoming_sleep >= deadline
            return is_late or state.attempt_number >= self._settings.retry_attempts

        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(_is_worth_retrying),
            wait=tenacity.wait_fixed(self._settings.retry_wait_s),
            stop=is_last,
            sleep=self._sleep,
            reraise=True,
        )
        return await retrying(next_attempt)

    async def _attempt(
        self, rpc: Rpc[Request, Response], request: Request, deadline: float
    ) -> Response:
        # gRPC ends the attempt at its timeout; the last attempt ends with the whole call.
        left_s = deadline - self._clock()
        return await rpc(request, timeout=min(self._settings.attempt_timeout_s, left_s))

    def _unavailable(self, reason: str) -> AggregatorUnavailable:
        retry_after_s = self._circuit.refuses_for_s() or _DEFAULT_RETRY_AFTER_S
        return AggregatorUnavailable(reason, retry_after_s)


def _is_worth_retrying(error: BaseException) -> bool:
    return isinstance(error, grpc.aio.AioRpcError) and error.code() in RETRIED


def _is_answer(error: BaseException) -> bool:
    return isinstance(error, grpc.aio.AioRpcError) and error.code() in ANSWERS
