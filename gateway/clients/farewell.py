"""Tell live clients that the gateway stops, and when each should come back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

# The registry of RFC 6455 calls it "Service Restart": the client should connect again.
SERVICE_RESTART = 1012
SERVER_SHUTDOWN = "server-shutdown"
# A process takes about as long to start, so nobody should come earlier.
FIRST_RETURN_S = 1.0
DEFAULT_SPREAD_S = 5.0


@dataclass(frozen=True, slots=True)
class Farewell:
    """The last message to one client."""

    reconnect_after_ms: int

    @property
    def reason(self) -> str:
        """The reason in a close frame, for protocols that have no other place for it."""
        return f"{SERVER_SHUTDOWN}; reconnectAfterMs={self.reconnect_after_ms}"


class Returns:
    """Spread the returns of clients over time, so that not all connect at the same moment.

    Args:
        spread_s: how long after the first client the last one comes back.
        uniform: returns a random number between two; decides when each client comes back.
    """

    def __init__(
        self, spread_s: float = DEFAULT_SPREAD_S, uniform: Callable[[float, float], float] = max
    ) -> None:
        self._spread_s = spread_s
        self._uniform = uniform

    def farewell(self) -> Farewell:
        """Return the last message to one client."""
        return Farewell(round(1000 * self._next_s()))

    def retry_after_s(self) -> int:
        """Return the Retry-After of one refused client, in whole seconds."""
        return int(self._next_s())

    def _next_s(self) -> float:
        return FIRST_RETURN_S + self._uniform(0, self._spread_s)
