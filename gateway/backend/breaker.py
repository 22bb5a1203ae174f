"""Decide when to stop asking a backend that fails, and when to ask again.

The rule is resilience4j's count-based circuit breaker::

    closed ──[failure rate of the last `window` calls, from `min_calls` on]──▶ open
    open ──[`open_s` passed and a call asks]──▶ half-open
    half-open ──[`probes` calls finished, failure rate below the limit]──▶ closed
    half-open ──[`probes` calls finished, failure rate at the limit]──▶ open

Half-open lets ``probes`` calls through and refuses the rest. It judges when all of them finished,
by the same failure rate as the closed state: at 50 %, one failure among three closes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

# Numbers the changes of state; a permit is the number when its call began.
Permit = NewType("Permit", int)


class BreakerState(StrEnum):
    """Whether calls pass."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """The numbers of the rule."""

    window: int = 10
    min_calls: int = 5
    failure_rate: float = 0.5
    open_s: float = 5.0
    probes: int = 3


class BreakerRule:
    """Apply the rule to calls and their outcomes; time is an argument, in seconds.

    Every permit must be settled once, by :meth:`record` or :meth:`give_back`. The outcome of a call
    that began before the last change of state is ignored: it says nothing about the present state.
    (resilience4j counts it, so a slow call from before the outage can close the breaker there.)

    """

    def __init__(self, limits: BreakerLimits) -> None:
        self._limits = limits
        self._change = 0
        self._opened_at = 0.0
        self._enter(BreakerState.CLOSED)

    @property
    def state(self) -> BreakerState:
        """The present state."""
        return self._state

    def next_permit(self, now: float) -> Permit | None:
        """Return a permit for one call, or None if it must not be made."""
        if self._state is BreakerState.OPEN:
            if self.refuses_for_s(now) > 0:
                return None
            self._enter(BreakerState.HALF_OPEN)
        if self._state is BreakerState.HALF_OPEN:
            if self._free_probes == 0:
                return None
            self._free_probes -= 1
        return Permit(self._change)

    def record(self, permit: Permit, *, failed: bool, now: float) -> None:
        """Take the outcome of the call that ``permit`` was given for."""
        if permit != self._change:
            return
        self._failures.append(failed)
        if len(self._failures) < self._calls_to_judge:
            return
        if sum(self._failures) / len(self._failures) >= self._limits.failure_rate:
            self._opened_at = now
            self._enter(BreakerState.OPEN)
        elif self._state is BreakerState.HALF_OPEN:
            self._enter(BreakerState.CLOSED)

    def give_back(self, permit: Permit) -> None:
        """Take back a permit whose call ended without an outcome, as a cancelled one does."""
        if permit == self._change and self._state is BreakerState.HALF_OPEN:
            self._free_probes += 1

    def refuses_for_s(self, now: float) -> float:
        """Return how long every call will be refused from ``now`` on; 0 unless open."""
        if self._state is not BreakerState.OPEN:
            return 0.0
        return max(0.0, self._opened_at + self._limits.open_s - now)

    def _enter(self, state: BreakerState) -> None:
        limits = self._limits
        half_open = state is BreakerState.HALF_OPEN
        # As in resilience4j: a minimum above the window would never be reached.
        self._calls_to_judge = limits.probes if half_open else min(limits.min_calls, limits.window)
        self._failures: deque[bool] = deque(maxlen=limits.probes if half_open else limits.window)
        self._free_probes = limits.probes if half_open else 0
        self._change += 1
        self._state = state
