"""Refuse requests over the rate limit, without waiting."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

from aiolimiter import AsyncLimiter

from gateway.errors import RateLimited


class RateLimits:
    """Count requests, all together or by caller.

    The limit is a leaky bucket: one second's worth may come at once, then requests pass at the
    rate. A refused request costs nothing.

    """

    def __init__(
        self, rate: float, *, scope: Literal["global", "client"], max_clients: int
    ) -> None:
        self._rate = rate
        self._scope = scope
        self._max_clients = max_clients
        self._limiters: OrderedDict[str, AsyncLimiter] = OrderedDict()

    async def take(self, caller: str) -> None:
        """Count one request of ``caller``.

        Raises:
            RateLimited: it is over the limit.
        """
        if self._rate == 0:
            return
        limiter = self._limiter("" if self._scope == "global" else caller)
        if not limiter.has_capacity():
            raise RateLimited(self._rate, retry_after_s=1 / self._rate)
        # Returns without suspending, as there is capacity.
        await limiter.acquire()

    def _limiter(self, key: str) -> AsyncLimiter:
        limiter = self._limiters.get(key)
        if limiter is None:
            if len(self._limiters) >= self._max_clients:
                # The client silent for longest most likely has a full allowance again.
                self._limiters.popitem(last=False)
            # A bucket must hold one request, so below one per second the period grows instead.
            limiter = AsyncLimiter(max(self._rate, 1), 1 / min(self._rate, 1))
            self._limiters[key] = limiter
        self._limiters.move_to_end(key)
        return limiter
