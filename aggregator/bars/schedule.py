"""How the bars of one symbol and one interval by the clock divide time."""

from __future__ import annotations

from aggregator.bars.bar import Bar, BarState, Coverage
from aggregator.bars.candle import Candle
from aggregator.sessions.sessions import SessionRule
from marketdata.intervals import Interval, IntervalKind


class BarSchedule:
    """Bounds, hours and phases of bars; it has no trades."""

    __slots__ = ("anchor", "is_daily", "name", "rule", "size")

    def __init__(self, interval: Interval, rule: SessionRule) -> None:
        self.name = interval.name
        self.rule = rule
        # 0: the bars are trading days.
        self.size = interval.size if interval.kind is IntervalKind.TIME else 0
        self.is_daily = not self.size
        self.anchor = rule.anchor(self.size) if self.size else 0

    def bounds(self, ts: int) -> tuple[int, int] | None:
        """Return start and end of the bar of ``ts``; None between two days."""
        if self.size:
            start = ts - (ts - self.anchor) % self.size
            return start, start + self.size
        day = self.rule.day(ts)
        return None if day is None else (day.start, day.end)

    def phase(self, start: int) -> str:
        """Return the part of the trading day that a bar begins in; a whole day has none."""
        return self.rule.phase(start) if self.size else ""

    def hours(self, start: int, end: int) -> tuple[int, int]:
        """Return the time in which a bar, up to ``end``, could have had trades."""
        day = None if self.size else self.rule.day(start)
        if day is not None and day.opens < min(end, day.closes):
            return day.opens, min(end, day.closes)
        return start, end

    def make(self, symbol: str, start: int, end: int, candle: Candle) -> Bar:
        """Return a new bar."""
        # Arguments by name would take twice as long.
        phase = self.phase(start)
        state, coverage = BarState.PARTIAL, Coverage.PARTIAL
        return Bar(symbol, self.name, start, end, candle, 0, state, 0, coverage, 0, phase)
