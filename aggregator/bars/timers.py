"""When the wall clock closes something, and of which symbols."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from aggregator.bars import kernel, layout
from aggregator.bars.kernel import Tables

_DUE_TO_TIMER = slice(layout.DUE_AT, layout.TIMER_AT + 1)


class Timers:
    """Rows of symbols by the time when the clock looks after them.

    An entry may be too early, or its row wait for another time by now.

    Args:
        wake: hears of a time before all others.
    """

    def __init__(self, wake: Callable[[int], None]) -> None:
        self._wake = wake
        # A heap.
        self._times: list[int] = []
        self._due: dict[int, deque[NDArray[np.int32]]] = {}

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

    def take(self, max_rows: int) -> tuple[int, NDArray[np.int32]]:
        """Return the first time, which has rows, and some of them."""
        time = self._times[0]
        waiting = self._due[time]
        rows = waiting.popleft()
        if len(rows) > max_rows:
            waiting.appendleft(rows[max_rows:])
            rows = rows[:max_rows]
        return time, rows

    def set(self, tables: Tables, rows: NDArray[np.int32]) -> None:
        """Look after rows when they have something to close, as far as it is up to the clock."""
        count = len(rows)
        out, times = np.empty(count, np.int32), np.empty(count, np.int64)
        count = kernel.set_timers(tables.ints, tables.desk, rows, out, times)
        if not count:
            return
        out, times = out[:count], times[:count]
        first = int(times[0])
        if count == 1 or (times == first).all():
            self._wait_for(first, out)
            return
        for time in np.unique(times).tolist():
            self._wait_for(time, out[times == time])

    def set_one(self, tables: Tables, row: int, others: Iterable[int]) -> None:
        """Look after a row as :meth:`set` does, or sooner at one of other times."""
        due, is_live, timer_at = tables.ints[row, _DUE_TO_TIMER].tolist()
        if not is_live:
            return
        times = [due] if tables.desk[layout.N_LANES] and due < layout.NEVER else []
        times += others
        if times and not 0 < timer_at <= min(times):
            tables.ints[row, layout.TIMER_AT] = min(times)
            self._wait_for(min(times), np.array([row], np.int32))

    def _wait_for(self, time: int, rows: NDArray[np.int32]) -> None:
        due = self._due.get(time)
        if due is not None:
            due.append(rows)
            return
        self._due[time] = deque([rows])
        heappush(self._times, time)
        if self._times[0] == time:
            self._wake(time)
