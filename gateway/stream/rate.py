"""Count what one client sends against a rate."""

from __future__ import annotations


class MessageRate:
    """A token bucket: one second's worth may come at once, then messages pass at the rate.

    Args:
        rate: messages per second; 0: no limit.
        now: seconds, as all times given here.
    """

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        # A bucket must hold one message, also below one per second.
        self._capacity = max(rate, 1.0)
        self._tokens = self._capacity
        self._at = now

    def admit(self, now: float) -> bool:
        """Count one message; return whether it is within the rate."""
        if self._rate == 0:
            return True
        self._tokens = min(self._capacity, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
