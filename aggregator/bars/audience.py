"""Who hears of bars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from aggregator.bars.bar import Bar


class Published(NamedTuple):
    """One state of a bar that is not open, as it goes out.

    A *series* is the bars of one symbol and interval: a number, see :meth:`BarEngine.series`.
    ``revision`` is -1 unless the bar is closed; ``wire`` is the state as an element of
    ``UpdateBatch.bars``: tag, length and payload.
    """

    series: int
    start: int
    number: int
    revision: int
    wire: bytes


class BarSink(Protocol):
    """Who keeps closed bars."""

    def put(self, bars: Sequence[Bar]) -> None:
        """Take final and revised bars, which nobody changes any more; awaits nothing."""


class BarAudience(Protocol):
    """Who hears of bars at once; only of those that somebody wants."""

    def opened(self, symbol: str, row: int) -> Iterable[int]:
        """Hear of a new symbol; return the numbers of the intervals wanted of it by name."""

    def partials_changed(self, series: Sequence[int]) -> None:
        """Hear that open bars changed; :meth:`BarEngine.partials` has their newest states."""

    def bars_published(self, bars: Sequence[Published]) -> None:
        """Hear of early, final and revised states, in their order; an early bar may change yet."""

    def interval_completed(self, interval: str, end: int) -> None:
        """Hear that every bar of ``interval`` that ends there was published."""


class NoAudience:
    """Nobody hears."""

    def opened(self, _symbol: str, _row: int) -> Iterable[int]:
        """Return nothing."""
        return ()

    def partials_changed(self, series: Sequence[int]) -> None:
        """Do nothing."""

    def bars_published(self, bars: Sequence[Published]) -> None:
        """Do nothing."""

    def interval_completed(self, interval: str, end: int) -> None:
        """Do nothing."""


class NoStore:
    """Nobody keeps bars."""

    def put(self, bars: Sequence[Bar]) -> None:
        """Do nothing."""
