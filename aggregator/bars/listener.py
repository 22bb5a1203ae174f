"""Where the states of bars go: to a listener at once, and to a store when they are closed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aggregator.bars.bar import Bar
from aggregator.bars.published import PublishedBars


class BarSink(Protocol):
    """Keeps closed bars."""

    def put(self, bars: Sequence[Bar]) -> None:
        """Take final and revised bars, which nobody changes any more; awaits nothing."""


class BarListener(Protocol):
    """Hears at once of the bars that it wants."""

    def opened(self, symbol: str, row: int) -> Iterable[int]:
        """Return the intervals of which somebody wants the bars of a new symbol by its name."""

    def partials_changed(self, series: NDArray[np.int64]) -> None:
        """Hear that open bars changed; :meth:`BarSeries.partials` has their newest states."""

    def bars_published(self, bars: PublishedBars) -> None:
        """Hear of states in their order."""

    def interval_completed(self, interval: str, end: int) -> None:
        """Hear that every bar of ``interval`` that ends there was published."""


class NoListener:
    """Wants no bars."""

    def opened(self, _symbol: str, _row: int) -> Iterable[int]:
        """Return nothing."""
        return ()

    def partials_changed(self, series: NDArray[np.int64]) -> None:
        """Do nothing."""

    def bars_published(self, bars: PublishedBars) -> None:
        """Do nothing."""

    def interval_completed(self, interval: str, end: int) -> None:
        """Do nothing."""


class NoStore:
    """Keeps no bars."""

    def put(self, bars: Sequence[Bar]) -> None:
        """Do nothing."""


@dataclass(slots=True)
class BarOutput:
    """Where the states of bars go."""

    listener: BarListener = field(default_factory=NoListener)
    sink: BarSink = field(default_factory=NoStore)
    # Names this run of the state; goes out with each bar.
    epoch: int = 0
    # The place of the present input, a batch or a look at the clock, in the order of all inputs.
    position: int = 0
