"""Let ticks wait while a healthy store has more bars to write than it should."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

# A store that has had no room for so long is too slow for its ticks: from then on it delays none.
MAX_WAIT_S = 10.0


class StoreRoom:
    """Whether there is room for the bars that more ticks close.

    There is room while no more than half of the bars wait that may wait: the other half is for the
    bars that one batch closes. A store that fails, or that has had no room for :data:`MAX_WAIT_S`,
    delays no tick; its oldest bars are lost and counted.

    Args:
        max_waiting: how many bars may wait.
        clock: a clock in seconds that only grows.
    """

    def __init__(self, max_waiting: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._enough = max_waiting // 2
        self._clock = clock
        # None: there is room, or the store fails.
        self._full_since: float | None = None
        self._freed = asyncio.Event()
        self._freed.set()

    def update(self, waiting: int, *, is_failing: bool) -> None:
        """Know how many bars wait, and whether the store fails."""
        if is_failing or waiting <= self._enough:
            self._full_since = None
            self._freed.set()
        elif self._full_since is None:
            self._full_since = self._clock()
            self._freed.clear()

    @property
    def is_overdue(self) -> bool:
        """Whether ticks have waited as long as they may."""
        return self.left_s <= 0.0

    @property
    def is_free(self) -> bool:
        """Whether ticks need not wait."""
        return self._full_since is None or self.is_overdue

    async def wait(self) -> None:
        """Wait until there is room; until the caller's next ``await`` nobody else takes it."""
        while not self.is_free:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.left_s):
                    await self._freed.wait()

    @property
    def left_s(self) -> float:
        """How long ticks still wait at most."""
        if self._full_since is None:
            return MAX_WAIT_S
        return self._full_since + MAX_WAIT_S - self._clock()
