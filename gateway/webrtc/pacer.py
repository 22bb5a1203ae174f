"""Bound the time that all data channels together take from the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.limiter import RateLimiter

# How long the loop may be busy with channels at once, in messages: 10 of them take 1.5 ms.
MIN_BURST = 10
BURST_S = 0.02


class Pacer:
    """Let so many messages per second go out over data channels, and share them fairly.

    SCTP and DTLS in Python cost 0.15 ms per message (a WebSocket's 0.02), in the loop that serves
    every other client. Beyond the rate channels are not writable, so they conflate.

    Args:
        rate: messages per second of all channels together.
    """

    def __init__(self, rate: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._burst = max(MIN_BURST, rate * BURST_S)
        self._limiter = RateLimiter(rate, self._burst, self._loop.time())
        # Called when there is room again; the one that was called is last the next time.
        self._channels: dict[Callable[[], None], None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.open = True

    def add(self, go_on: Callable[[], None]) -> None:
        """Call ``go_on`` each time that there is room again."""
        self._channels[go_on] = None

    def discard(self, go_on: Callable[[], None]) -> None:
        """Call it no more."""
        self._channels.pop(go_on, None)
        if not self._channels and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.open = True

    def spend(self) -> None:
        """Count a message, also one that had to go out where there is no room."""
        self._limiter.spend(self._loop.time())
        if self.open and self._limiter.wait_s():
            self.open = False
            # Half a burst at a time: a timer for each message would cost as much as the message.
            wait_s = self._limiter.wait_s(self._burst / 2)
            self._timer = self._loop.call_later(wait_s, self._go_on)

    def _go_on(self) -> None:
        self._timer = None
        self.open = True
        for go_on in list(self._channels):
            if go_on in self._channels:
                del self._channels[go_on]
                self._channels[go_on] = None
                go_on()
            if not self.open:
                break
