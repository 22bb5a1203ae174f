"""The bars of one symbol and one interval that no clock ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from aggregator.bars.bar import Bar
from aggregator.bars.source import Amendment
from marketdata.intervals import Interval

# Full bars in memory of each symbol and interval.
MAX_RECENT = 1_000


class EventBars(Protocol):
    """The bars of one symbol that end after a number of trades, a volume or an amount of money."""

    @property
    def open_bar(self) -> Bar | None:
        """The bar that is not full, or None."""

    def add(
        self,
        price: float,
        volume: int,
        ts: int,
        sequence: int,
        *,
        decimals: int = 0,
        excludes: int = 0,
    ) -> None:
        """Take one trade in, whose volume counts 10^-decimals."""

    def amend(self, amendment: Amendment) -> None:
        """Cancel or correct a trade, if it waits."""

    def advance(self, clock_ns: int) -> list[Bar]:
        """Return the bars that are full as of the symbol's time ``clock_ns``."""

    def next_release(self) -> int | None:
        """Return from which clock on :meth:`advance` has something to do, None for never."""

    def flush(self) -> list[Bar]:
        """Let all trades count that wait; return the bars that are full."""

    def restore(self, bars: Iterable[Bar]) -> None:
        """Go on after the bars of an earlier epoch."""

    def dump_state(self) -> dict[str, Any]:
        """Return what to go on with: its bar, and what is saved beside that."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where other bars were."""


class EventSeries:
    """Such bars, and what is published of them."""

    __slots__ = ("bars", "name", "open_sequence", "recent", "sequence")

    def __init__(self, name: str, bars: EventBars) -> None:
        self.name = name
        self.bars = bars
        self.recent: deque[Bar] = deque(maxlen=MAX_RECENT)
        self.sequence = self.open_sequence = 0

    def open_state(self) -> Bar | None:
        """Return a copy of the bar that is not full, or None."""
        bar = self.bars.open_bar
        if bar is None:
            return None
        bar = bar.copy()
        bar.sequence = self.open_sequence
        return bar

    def renew(self) -> bool:
        """Count one more state of the bar that is not full; return whether there is one."""
        if self.bars.open_bar is None:
            return False
        self.sequence += 1
        self.open_sequence = self.sequence
        return True

    def keep(self, bars: Iterable[Bar]) -> None:
        """Count one state of each bar that is full, and remember it."""
        for bar in bars:
            self.sequence += 1
            bar.sequence = self.sequence
            self.recent.append(bar)

    def dump_state(self) -> dict[str, Any]:
        """Return the bars, and what was published of them."""
        return {
            "recent": self.recent,
            "sequence": self.sequence,
            "open_sequence": self.open_sequence,
            **self.bars.dump_state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where another series was."""
        self.recent = deque(state["recent"], MAX_RECENT)
        self.sequence = state["sequence"]
        self.open_sequence = state["open_sequence"]
        self.bars.load_state(state)


# From a symbol and an interval to its bars.
EventBarsFactory = Callable[[str, Interval], EventBars]
