"""Limit how often something happens."""

from __future__ import annotations


class RateLimiter:
    """Let ``burst`` events through at once, and ``rate`` per second in the long run.

    It is a token bucket, which never waits: the caller decides what a refused event means.

    Args:
        rate: events per second.
        burst: events at once.
        now: the time in seconds, of a clock that never goes back; so everywhere here.
    """

    __slots__ = ("_burst", "_rate", "_time", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._tokens = self._burst
        self._time = now

    def take(self, now: float, count: int = 1) -> bool:
        """Return whether ``count`` events are within the limit; a refused one costs nothing."""
        self._refill(now)
        allowed = self._tokens >= count - _SLACK
        if allowed:
            self._tokens -= count
        return allowed

    def has(self, now: float) -> bool:
        """Return whether one more event would be within the limit."""
        self._refill(now)
        return self._tokens >= 1 - _SLACK

    def spend(self, now: float) -> None:
        """Count an event that happens whether it is within the limit or not."""
        self._refill(now)
        self._tokens -= 1

    def wait_s(self, count: float = 1) -> float:
        """Return how long after the last event ``count`` are within the limit; 0: they are."""
        return max(0.0, (count - self._tokens) / self._rate)

    def _refill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now - self._time) * self._rate)
        self._time = now


# Sums of floats are off by less: an event at the very time that it is due is within the limit.
_SLACK = 1e-6
