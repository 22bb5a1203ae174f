"""Refuse requests over the rate limit, without waiting."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Address, ip_address
from typing import Literal

from gateway.errors import RateLimited
from gateway.limiter import RateLimiter

# What one customer of a provider usually has of IPv6 (RFC 6177: a /64 or more). Each address of it
# would otherwise be a client of its own.
_IPV6_PREFIX_BITS = 64


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """Return what is limited together: an IPv4 address, or the /64 network of an IPv6 address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    bits = 128 - _IPV6_PREFIX_BITS
    return f"{ip_address(int(parsed) >> bits << bits)}/{_IPV6_PREFIX_BITS}"


class RateLimits:
    """Count requests, all together or by caller.

    One second's worth may come at once, then requests pass at the rate. A refused request costs
    nothing.

    """

    def __init__(
        self,
        rate: float,
        *,
        scope: Literal["global", "client"],
        max_clients: int,
        clock: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._rate = rate
        self._scope = scope
        self._max_clients = max_clients
        self._limiters: OrderedDict[str, RateLimiter] = OrderedDict()

    def take(self, caller: str) -> None:
        """Count one request of ``caller``.

        Raises:
            RateLimited: it is over the limit.
        """
        if self._rate == 0:
            return
        limiter = self._limiter("" if self._scope == "global" else network_of(caller))
        if not limiter.take(self._clock()):
            raise RateLimited(self._rate, retry_after_s=1 / self._rate)

    def _limiter(self, key: str) -> RateLimiter:
        limiter = self._limiters.get(key)
        if limiter is None:
            if len(self._limiters) >= self._max_clients:
                # The client silent for longest most likely has a full allowance again.
                self._limiters.popitem(last=False)
            # At least one request at once, also at a rate below one per second.
            limiter = RateLimiter(self._rate, max(self._rate, 1), self._clock())
            self._limiters[key] = limiter
        self._limiters.move_to_end(key)
        return limiter
