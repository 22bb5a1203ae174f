"""Log how much was dropped and why, at most one line per reason and second."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

from structlog.typing import FilteringBoundLogger

INTERVAL_S = 1.0


class DropSummary:
    """Count drops by reason and log what was added, one line per reason and second.

    :attr:`totals` holds the counts since start. No timer runs while nothing is dropped.
    """

    def __init__(self, log: FilteringBoundLogger, event: str) -> None:
        self._log = log
        self._event = event
        self.totals: Counter[str] = Counter()
        self._unlogged: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, counts: Mapping[str, int]) -> None:
        """Count drops by reason."""
        if not counts:
            return
        self.totals.update(counts)
        self._unlogged.update(counts)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(INTERVAL_S, self.flush)

    def flush(self) -> None:
        """Log the counts that were not logged yet; a service does so last."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for reason, count in self._unlogged.items():
            self._log.warning(
                self._event, reason=str(reason), count=count, total=self.totals[reason]
            )
        self._unlogged.clear()
