"""The bars of all symbols that no clock ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from aggregator.bars.bar import Bar
from aggregator.bars.event_lane import EventBarsFactory, EventLane
from marketdata.intervals import Interval


class Filled(NamedTuple):
    """A bar that is full, with its symbol's row and the number of its lane."""

    row: int
    lane: int
    bar: Bar


class EventLanes:
    """A lane for each interval of each symbol; :attr:`names` are the intervals.

    Args:
        intervals: what ends after so many trades, so much volume or money.
        factory: makes the bars of a lane; None: there are none.
    """

    def __init__(self, intervals: Sequence[Interval], factory: EventBarsFactory | None) -> None:
        self._factory = factory
        self._intervals = intervals if factory is not None else ()
        self.names = [interval.name for interval in self._intervals]
        # By row.
        self._lanes: list[list[EventLane]] = []
        # The rows with trades in this batch.
        self.traded: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self.names)

    def open(self, symbol: str) -> None:
        """Have lanes for the symbol of the next row."""
        if self._factory is not None:
            lanes = [EventLane(each.name, self._factory(symbol, each)) for each in self._intervals]
            self._lanes.append(lanes)

    def of(self, row: int) -> Sequence[EventLane]:
        """Return the lanes of a symbol."""
        return self._lanes[row]

    def add(self, row: int, price: float, volume: int, ts: int, sequence: int) -> None:
        """Take one trade in."""
        self.traded.add(row)
        for lane in self._lanes[row]:
            lane.bars.add(price, volume, ts, sequence)

    def release(self, row: int, clock_ns: int) -> list[Filled]:
        """Return the bars of a symbol that are full as of its time."""
        return self._keep(row, [lane.bars.advance(clock_ns) for lane in self._lanes[row]])

    def flush(self, row: int) -> list[Filled]:
        """Return the bars of a symbol that are full when no trade is waited for."""
        return self._keep(row, [lane.bars.flush() for lane in self._lanes[row]])

    def next_releases(self, row: int) -> list[int]:
        """Return the times from which on :meth:`release` has something to do."""
        return [t for lane in self._lanes[row] if (t := lane.bars.next_release())]

    def _keep(self, row: int, filled: Sequence[Sequence[Bar]]) -> list[Filled]:
        for lane, bars in zip(self._lanes[row], filled, strict=True):
            lane.keep(bars)
        return [Filled(row, number, bar) for number, bars in enumerate(filled) for bar in bars]
