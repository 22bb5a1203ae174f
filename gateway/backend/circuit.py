"""Put a circuit breaker around awaited calls: our rule in pybreaker's breaker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import pybreaker
import structlog

from gateway.backend.breaker import BreakerRule, BreakerState, Permit

T = TypeVar("T")

log = structlog.get_logger()


class Circuit:
    """Drive a pybreaker breaker by our rule.

    pybreaker keeps the state, decides which exceptions are failures, calls listeners and has the
    error for refused calls. :class:`BreakerRule` decides when the state changes, because pybreaker
    counts consecutive failures only. pybreaker's own ``call`` and ``calling`` do not fit around an
    await: they let any number of probes through, count a cancellation as an outcome, and start the
    open time anew with each call that fails after the breaker opened.

    """

    def __init__(
        self,
        name: str,
        rule: BreakerRule,
        *,
        is_answer: Callable[[BaseException], bool],
        clock: Callable[[], float],
    ) -> None:
        self._rule = rule
        self._clock = clock
        self._breaker = pybreaker.CircuitBreaker(
            name=name, exclude=[is_answer], listeners=[_StateLog()]
        )
        self._enter = {
            BreakerState.CLOSED: self._breaker.close,
            BreakerState.OPEN: self._breaker.open,
            BreakerState.HALF_OPEN: self._breaker.half_open,
        }

    @property
    def state(self) -> BreakerState:
        """Whether calls pass; it stays open until a call asks after the open time."""
        return self._rule.state

    def refuses_for_s(self) -> float:
        """Return how long every call will be refused from now on; 0 unless open."""
        return self._rule.refuses_for_s(self._clock())

    async def call(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what ``attempt`` returns, or raise what it raises.

        Raises:
            pybreaker.CircuitBreakerError: the circuit is open, or all probes are taken.
        """
        permit = self.begin()
        try:
            result = await attempt()
        except Exception as exc:
            self.end(permit, exc)
            raise
        except BaseException:
            # A client that disconnected says nothing about the backend.
            self.give_back(permit)
            raise
        self.end(permit)
        return result

    def begin(self) -> Permit:
        """Return a permit for one attempt, which :meth:`end` or :meth:`give_back` must settle.

        Raises:
            pybreaker.CircuitBreakerError: the circuit is open, or all probes are taken.
        """
        permit = self._rule.next_permit(self._clock())
        self._publish()
        if permit is None:
            raise pybreaker.CircuitBreakerError(f"circuit breaker is {self._rule.state}")
        return permit

    def end(self, permit: Permit, error: Exception | None = None) -> None:
        """Take the outcome of an attempt."""
        failed = error is not None and self._breaker.is_system_error(error)
        self._rule.record(permit, failed=failed, now=self._clock())
        self._publish()

    def give_back(self, permit: Permit) -> None:
        """Take back the permit of an attempt without an outcome."""
        self._rule.give_back(permit)

    # The rule changes state at most once per operation, so no change goes unseen.
    def _publish(self) -> None:
        if self._breaker.current_state != self._rule.state:
            self._enter[self._rule.state]()


class _StateLog(pybreaker.CircuitBreakerListener):
    """Log each change of state."""

    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,
        old_state: pybreaker.CircuitBreakerState | None,
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        log.warning(
            "circuit_breaker_changed",
            breaker=cb.name,
            was=None if old_state is None else old_state.name,
            state=new_state.name,
        )
