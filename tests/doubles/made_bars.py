"""Bars that need no engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from typing import Any

from aggregator.bars.bar import Bar, BarState, Coverage
from aggregator.bars.candle import Candle
from aggregator.store.backlog import Backlog
from aggregator.store.queries import Range
from aggregator.store.rows import to_row
from marketdata.intervals import parse_interval
from marketdata.timestamps import NS_PER_S


def make_bar(
    start_s: int = 0,
    symbol: str = "AAPL",
    interval: str = "1s",
    *,
    prices: tuple[float, ...] = (10.0,),
    state: BarState = BarState.FINAL,
    revision: int = 0,
    number: int = 0,
) -> Bar:
    """Return a bar whose trades of one share each are a nanosecond apart."""
    start = start_s * NS_PER_S
    candle = Candle()
    for index, price in enumerate(prices):
        candle.add(price, 1, start + index, 7 + index)
    kind = parse_interval(interval)
    end = start + kind.nominal_ns if kind.by_clock else candle.last_ts
    return Bar(
        symbol, interval, start, end, candle, number, state, revision, Coverage.FULL, phase=""
    )


class MemoryOfBars:
    """What the engine shows of its bars."""

    def __init__(self) -> None:
        self.bars: list[Bar] = []
        self.sequences: dict[tuple[str, str], int] = {}

    def sequence(self, symbol: str, interval: str) -> int:
        """Return how many states were published."""
        return self.sequences.get((symbol, interval), 0)

    def open_and_recent(self, symbol: str, interval: str, from_ns: int, to_ns: int) -> list[Bar]:
        """Return the bars in memory."""
        return sorted(
            (
                bar
                for bar in self.bars
                if (bar.symbol, bar.interval) == (symbol, interval) and from_ns <= bar.start < to_ns
            ),
            key=lambda bar: bar.key,
        )


class StoreInMemory:
    """A database that is a dict, with a real backlog."""

    def __init__(self) -> None:
        self.backlog = Backlog(100)
        self.rows: dict[tuple[int, int], Sequence[Any]] = {}
        self.refused: dict[int, int] = {}
        # Called while the database answers, after it has read.
        self.meanwhile: Callable[[], None] = lambda: None

    def reading(self, symbol: str, interval: str) -> AbstractContextManager[Mapping[Any, Bar]]:
        """Give the bars that wait."""
        return self.backlog.reading(symbol, interval)

    def write(self) -> None:
        """Write the bars that wait."""
        for bar in chain.from_iterable(self.backlog.take(100)):
            self.rows[bar.start, bar.number] = to_row(bar)
        self.backlog.settle()

    async def fetch(self, asked: Range) -> Sequence[Sequence[Any]]:
        """Return the rows of a range."""
        found = [
            row
            for place, row in sorted(self.rows.items(), reverse=asked.newest)
            if asked.from_ns <= place[0] < asked.to_ns
            and place > (asked.after or (-1, -1))
            and (row[17] >= BarState.FINAL or not asked.closed_only)
        ]
        self.meanwhile()
        return found[: asked.limit]

    async def fetch_refused(
        self, symbol: str, interval: str, from_ns: int, to_ns: int
    ) -> Mapping[int, int]:
        """Return the refused rows of imports."""
        return {start: n for start, n in self.refused.items() if from_ns <= start < to_ns}
