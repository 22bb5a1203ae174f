"""Bound how often something happens."""

from __future__ import annotations


class TokenBucket:
    """Let ``burst`` events through at once, and ``rate`` per second in the long run.

    Args:
        rate: events per second.
        burst: events at once.
        now: the time in seconds, of a clock that never goes back; so everywhere here.
    """

    __slots__ = ("_burst", "_rate", "_time", "_tokens")

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._tokens = self._burst
        self._time = now

    def take(self, now: float, count: int = 1) -> bool:
        """Return whether ``count`` events are within the limit; what is not costs nothing."""
        tokens = min(self._burst, self._tokens + (now - self._time) * self._rate)
        self._time = now
        allowed = tokens >= count
        self._tokens = tokens - count if allowed else tokens
        return allowed
