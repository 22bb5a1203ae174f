"""Admit live clients: so many at the same time, so many per second, and none while stopping."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from enum import StrEnum

from gateway.clients.farewell import Returns
from gateway.limiter import RateLimiter


class Refusal(StrEnum):
    """Why a client was not admitted."""

    FULL = "full"
    RATE = "rate"
    STOPPING = "stopping"


class Capacity:
    """The live clients of all endpoints.

    An endpoint calls :meth:`try_enter` before it accepts a client and :meth:`leave` when that
    client is gone; a client that is not admitted gets a 503 with ``Retry-After``.

    Args:
        limit: live clients at the same time.
        rate: clients admitted per second in the long run; 0: as many as come.
        burst: clients admitted at once.
        returns: says when a refused client should try again.
        clock: seconds on a clock that never goes back.
    """

    def __init__(
        self,
        limit: int,
        *,
        rate: float = 0,
        burst: int = 1,
        returns: Returns | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit = limit
        self.count = 0
        # Clients that were not admitted, and why the last one was not.
        self.refused: Counter[Refusal] = Counter()
        self.last_refusal = Refusal.FULL
        self.is_closed = False
        self._clock = clock
        self._admission = RateLimiter(rate, burst, clock()) if rate else None
        self._returns = returns or Returns()
        self._empty = asyncio.Event()
        self._empty.set()

    def try_enter(self) -> bool:
        """Count one more client, unless it is not admitted."""
        refusal = self._closed_or_full()
        admission = self._admission
        if refusal is None and admission is not None and not admission.take(self._clock()):
            refusal = Refusal.RATE
        if refusal is not None:
            self._count(refusal)
            return False
        self.count += 1
        self._empty.clear()
        return True

    def turn_away(self) -> int | None:
        """Return the Retry-After if a client would not be admitted now; None: it may try.

        A server that asks this first does nothing costly for clients that come in a storm.
        """
        refusal = self._closed_or_full()
        admission = self._admission
        if refusal is None and admission is not None and not admission.has(self._clock()):
            refusal = Refusal.RATE
        if refusal is None:
            return None
        self._count(refusal)
        return self.retry_after_s()

    def explain_refusal(self) -> str:
        """Return why the last client was not admitted."""
        match self.last_refusal:
            case Refusal.STOPPING:
                return "the gateway stops"
            case Refusal.RATE:
                return "too many clients connect at the same time"
            case _:
                return f"there are {self.limit} live clients, which is the limit"

    def retry_after_s(self) -> int:
        """Return the Retry-After of one client that was not admitted."""
        return self._returns.retry_after_s()

    def leave(self) -> None:
        """Count one client less."""
        self.count -= 1
        if not self.count:
            self._empty.set()

    def close(self) -> None:
        """Let no client enter any more: the server stops."""
        self.is_closed = True

    async def wait_empty(self) -> None:
        """Return when no client is left."""
        await self._empty.wait()

    def _closed_or_full(self) -> Refusal | None:
        if self.is_closed:
            return Refusal.STOPPING
        return Refusal.FULL if self.count >= self.limit else None

    def _count(self, refusal: Refusal) -> None:
        self.refused[refusal] += 1
        self.last_refusal = refusal
