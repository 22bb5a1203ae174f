"""Say when every bar of an interval that ends at some time is final."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any


class Completion:
    """Count the bars that are open or wait out the grace, by interval and end.

    An end is complete when all bars with this end or an earlier one are final. A symbol without
    trades delays an end at most until the latest exchange time of all symbols is a revise window
    past it. Each end is complete once, in their order.
    """

    def __init__(self, intervals: int, revise_ns: int) -> None:
        self._revise_ns = revise_ns
        self._counts: list[dict[int, int]] = [{} for _ in range(intervals)]
        # The ends that are not complete, a heap per interval.
        self._ends: list[list[int]] = [[] for _ in range(intervals)]
        self._last = [-(2**63)] * intervals

    def opened(self, interval: int, end: int, bars: int = 1) -> None:
        """Count bars that began."""
        if end <= self._last[interval] or not bars:
            return
        counts = self._counts[interval]
        if end in counts:
            counts[end] += bars
        else:
            counts[end] = bars
            heappush(self._ends[interval], end)

    def closed(self, interval: int, end: int, bars: int = 1) -> None:
        """Subtract bars that became final."""
        counts = self._counts[interval]
        if end in counts:
            counts[end] -= bars

    def next_complete(self, interval: int, clock: int) -> int | None:
        """Return the next end that is complete, once, or None for not yet."""
        ends, counts = self._ends[interval], self._counts[interval]
        if not ends or (counts[ends[0]] and ends[0] + self._revise_ns > clock):
            return None
        end = self._last[interval] = heappop(ends)
        del counts[end]
        return end

    def dump_state(self) -> dict[str, Any]:
        """Return the counts."""
        counts = [[list(each) for each in sorted(counts.items())] for counts in self._counts]
        return {"counts": counts, "last": list(self._last)}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on with the counts of another one."""
        self._counts = [dict(counts) for counts in state["counts"]]
        # What is sorted is a heap.
        self._ends = [list(counts) for counts in self._counts]
        self._last = list(state["last"])
