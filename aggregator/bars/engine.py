"""Turn the trades of every symbol into bars, and say when each is published."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from aggregator.bars.bar import Bar, BarKey


class BarSink(Protocol):
    """Who keeps closed bars."""

    def put(self, bars: Sequence[Bar]) -> None:
        """Take final and revised bars, which nobody changes any more; awaits nothing."""


class BarAudience(Protocol):
    """Who hears of bars at once."""

    def wanted(self, symbol: str) -> Collection[str]:
        """Return the intervals of which somebody wants the partial bars of ``symbol``."""

    def partial_changed(self, key: BarKey) -> None:
        """Hear that an open bar changed; :meth:`BarEngine.open_bar` has its newest state."""

    def bar_published(self, bar: Bar) -> None:
        """Hear of an early, final or revised state."""

    def interval_completed(self, interval: str, end: int) -> None:
        """Hear that every bar of ``interval`` that ends there was published."""


class BarEngine:
    """The bars of all symbols."""

    def sequence(self, symbol: str, interval: str) -> int:
        """Return how many states of the bars of ``symbol`` and ``interval`` were published."""
        raise NotImplementedError

    def open_bar(self, symbol: str, interval: str) -> Bar | None:
        """Return the state of the bar that is open, or None."""
        raise NotImplementedError

    def open_and_recent(self, symbol: str, interval: str, from_ns: int, to_ns: int) -> list[Bar]:
        """Return copies of all bars in memory with from_ns <= start < to_ns, by start and number."""
        raise NotImplementedError

    def open_bars(self) -> list[Bar]:
        """Return copies of all bars that are not closed."""
        raise NotImplementedError

    def restore(self, bars: Iterable[Bar]) -> None:
        """Take over bars of an earlier life: open ones, and those that can still be revised."""
        raise NotImplementedError
