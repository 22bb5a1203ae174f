"""End connections whose frames do not arrive in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class FrameDeadline:
    """The time by which a frame that was begun must have arrived.

    One timer serves many deadlines: setting one at each read would cost more than the read.

    Args:
        timeout_s: how long a frame may take.
        passed: called when it took longer.
    """

    def __init__(self, timeout_s: float, passed: Callable[[], None]) -> None:
        self._timeout_s = timeout_s
        self._passed = passed
        self._loop = asyncio.get_running_loop()
        self._deadline: float | None = None
        self._paused_at: float | None = None
        # Looks at the deadline; while one is set, at that time or earlier.
        self._timer: asyncio.TimerHandle | None = None

    def frame_begun(self, *, is_new: bool) -> None:
        """Note that a frame is not complete; a new one has the whole time."""
        if is_new or self._deadline is None:
            self._deadline = self._loop.time() + self._timeout_s
            if self._timer is None:
                self._timer = self._loop.call_at(self._deadline, self._check)

    def clear(self) -> None:
        """Note that no frame is incomplete."""
        self._deadline = None

    def pause(self) -> None:
        """Stop the clock: the connection is not read."""
        if self._paused_at is None:
            self._paused_at = self._loop.time()

    def resume(self) -> None:
        """Go on: the time for which the connection was not read does not count."""
        if self._paused_at is not None and self._deadline is not None:
            self._deadline += self._loop.time() - self._paused_at
        self._paused_at = None

    def close(self) -> None:
        """Forget the deadline, since the connection has ended."""
        self._deadline = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        now = self._loop.time()
        if self._paused_at is None and now >= self._deadline:
            self._passed()
            return
        again = now + self._timeout_s if self._paused_at is not None else self._deadline
        self._timer = self._loop.call_at(again, self._check)
