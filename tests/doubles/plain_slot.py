"""The bars of one symbol and one interval by the clock."""

from __future__ import annotations

from collections import deque

from aggregator.bars.bar import Bar, BarState, Coverage
from aggregator.bars.candle import Candle
from aggregator.sessions.sessions import SessionRule
from marketdata.intervals import Interval, IntervalKind


class Slot:
    """One bar that is open, those that wait out the grace, and those that can still be revised.

    The open one has start <= exchange time < end, and there is none while both are the same. Its
    ``candle`` misses what the symbol's base candle holds, and is None until that comes.
    """

    __slots__ = (
        "_anchor",
        "_rule",
        "_size",
        "candle",
        "closed",
        "early",
        "end",
        "evicted_until",
        "index",
        "is_daily",
        "name",
        "open_sequence",
        "order",
        "sequence",
        "stale",
        "start",
        "symbol",
    )

    def __init__(self, symbol: str, interval: Interval, index: int, rule: SessionRule) -> None:
        self.symbol = symbol
        self.name = interval.name
        # The place of the interval among those by the clock.
        self.index = index
        self._rule = rule
        self._size = interval.size if interval.kind is IntervalKind.TIME else 0
        # Whether the bars are trading days.
        self.is_daily = not self._size
        self._anchor = rule.anchor(self._size) if self._size else 0
        self.start = self.end = 0
        self.candle: Candle | None = None
        # By start.
        self.early: dict[int, Bar] = {}
        self.closed: dict[int, Bar] = {}
        # The starts of the closed ones, in the order in which they closed.
        self.order: deque[int] = deque()
        # How many closed ones were dropped here and not yet where all slots' are counted.
        self.stale = 0
        # The latest start of a bar that was closed and is not known any more.
        self.evicted_until = -(2**63)
        # Counts published states; that of the open bar's last one.
        self.sequence = self.open_sequence = 0

    def bounds(self, ts: int) -> tuple[int, int] | None:
        """Return start and end of the bar that ``ts`` belongs to; None between two days."""
        if self._size:
            start = ts - (ts - self._anchor) % self._size
            return start, start + self._size
        day = self._rule.day(ts)
        return None if day is None else (day.start, day.end)

    def phase(self, start: int) -> str:
        """Return the part of the trading day that a bar begins in; a whole day has none."""
        return self._rule.phase(start) if self._size else ""

    def hours(self, start: int, end: int) -> tuple[int, int]:
        """Return the time in which a bar, up to ``end``, could have had trades."""
        day = None if self._size else self._rule.day(start)
        if day is not None and day.opens < min(end, day.closes):
            return day.opens, min(end, day.closes)
        return start, end

    def make(self, start: int, end: int, candle: Candle) -> Bar:
        """Return a new bar."""
        # Arguments by name would take twice as long.
        phase = self.phase(start)
        name, state, coverage = self.name, BarState.PARTIAL, Coverage.PARTIAL
        return Bar(self.symbol, name, start, end, candle, 0, state, 0, coverage, 0, phase)

    def prune(self, horizon: int) -> None:
        """Drop closed bars that end at ``horizon`` or before: nothing can revise them."""
        order, closed = self.order, self.closed
        while order and closed[order[0]].end <= horizon:
            del closed[order.popleft()]
            self.stale += 1

    def forget_oldest(self) -> bool:
        """Make room for one closed bar; return whether one was lost that could be revised."""
        if self.stale:
            self.stale -= 1
            return False
        start = self.order.popleft()
        del self.closed[start]
        self.evicted_until = max(self.evicted_until, start)
        return True
