"""A set of times, kept as few spans."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Any, NamedTuple


class Span(NamedTuple):
    """start <= time < end, in ns."""

    start: int
    end: int


class Spans:
    """A set of times; spans that touch are one.

    At most ``max_spans`` are kept; beyond, the earliest is forgotten and counted in
    :attr:`forgotten`.
    """

    def __init__(self, max_spans: int, spans: Iterable[Span] = ()) -> None:
        self._max_spans = max_spans
        # Parallel and ascending; between an end and the next start there is a gap.
        self._starts: list[int] = []
        self._ends: list[int] = []
        self.forgotten = 0
        for span in spans:
            self.add(*span)

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, start: int, end: int) -> None:
        """Add start <= time < end."""
        if start >= end:
            return
        # The spans from first to last touch the new one and become one with it.
        first, last = bisect_left(self._ends, start), bisect_right(self._starts, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last], self._ends[first:last] = [start], [end]
        if len(self._starts) > self._max_spans:
            del self._starts[0], self._ends[0]
            self.forgotten += 1

    def remove(self, start: int, end: int) -> None:
        """Remove start <= time < end."""
        if start >= end:
            return
        first, last = bisect_right(self._ends, start), bisect_left(self._starts, end)
        if first >= last:
            return
        left = [(self._starts[first], start)] if self._starts[first] < start else []
        right = [(end, self._ends[last - 1])] if end < self._ends[last - 1] else []
        kept = left + right
        self._starts[first:last] = [span[0] for span in kept]
        self._ends[first:last] = [span[1] for span in kept]

    def reach(self, time: int) -> int:
        """Return the end of the span that holds ``time`` or ends there; else ``time``."""
        index = bisect_right(self._starts, time) - 1
        return max(time, self._ends[index]) if index >= 0 else time

    def touches(self, start: int, end: int) -> bool:
        """Return whether any time of start <= time < end is in the set."""
        index = bisect_right(self._ends, start)
        return start < end and index < len(self._starts) and self._starts[index] < end

    def first(self) -> list[Span]:
        """Return the earliest span, if there is one."""
        return list(map(Span, self._starts[:1], self._ends[:1]))

    def all(self) -> list[Span]:
        """Return all spans, the earliest first."""
        return list(map(Span, self._starts, self._ends))

    def dump_state(self) -> dict[str, Any]:
        """Return the spans, and how many were forgotten."""
        return {
            "starts": list(self._starts),
            "ends": list(self._ends),
            "forgotten": self.forgotten,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Become the set that another one was."""
        self._starts = state["starts"]
        self._ends = state["ends"]
        self.forgotten = state["forgotten"]
