"""Bars that need no engine."""

from __future__ import annotations

from aggregator.bars.bar import Bar, BarState, Coverage
from aggregator.bars.candle import Candle
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
