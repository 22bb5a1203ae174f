"""When the wall clock looks after something, and after which rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Timers:
    """Rows of symbols by the time when the clock looks after them.

    An entry may be too early, or its row may wait for another time by now.

    Args:
        wake: hears of a time before all others.
    """

    def __init__(self, wake: Callable[[int], None]) -> None:
        self._wake = wake
        # A heap.
        self._times: list[int] = []
        self._due: dict[int, deque[NDArray[np.int64]]] = {}

    def next(self) -> int | None:
        """Return the first time, or None."""
        return self._times[0] if self._times else None

    def has_due(self, now_ns: int) -> bool:
        """Return whether there are rows to look after."""
        while self._times and self._times[0] <= now_ns:
            # What was just looked after may come back to the same time.
            if self._due[self._times[0]]:
                return True
            del self._due[heappop(self._times)]
        return False

    def take(self, max_rows: int) -> tuple[int, NDArray[np.int64]]:
        """Return the first time, which has rows, and some of them."""
        time = self._times[0]
        waiting = self._due[time]
        parts = []
        while waiting and max_rows:
            rows = waiting.popleft()
            if len(rows) > max_rows:
                waiting.appendleft(rows[max_rows:])
                rows = rows[:max_rows]
            max_rows -= len(rows)
            parts.append(rows)
        # Else every slice would leave smaller parts to the next second.
        return time, parts[0] if len(parts) == 1 else np.concatenate(parts)

    def add(self, rows: NDArray[np.int64], times: NDArray[np.int64]) -> None:
        """Look after each row at its time."""
        if not len(rows):
            return
        first = int(times[0])
        if len(rows) == 1 or (times == first).all():
            self._wait_for(first, rows)
            return
        for time in np.unique(times).tolist():
            self._wait_for(time, rows[times == time])

    def _wait_for(self, time: int, rows: NDArray[np.int64]) -> None:
        due = self._due.get(time)
        if due is not None:
            due.append(rows)
            return
        self._due[time] = deque([rows])
        heappush(self._times, time)
        if self._times[0] == time:
            self._wake(time)

    def dump_state(self) -> dict[str, Any]:
        """Return the rows, with the calls in which they came."""
        due = {time: waiting for time, waiting in sorted(self._due.items()) if waiting}
        calls = [rows for waiting in due.values() for rows in waiting]
        return {
            "times": np.array(list(due), np.int64),
            "calls": np.array([len(waiting) for waiting in due.values()], np.int64),
            "sizes": np.array([len(rows) for rows in calls], np.int64),
            "rows": np.concatenate([np.zeros(0, np.int64), *calls]),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where another one was; nobody is woken."""
        # The loops write into them.
        rows = state["rows"].copy()
        calls = iter(np.split(rows, np.cumsum(state["sizes"])[:-1]))
        self._times = state["times"].tolist()
        self._due = {
            time: deque(islice(calls, count))
            for time, count in zip(self._times, state["calls"].tolist(), strict=True)
        }
