"""Who hears of bars."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from aggregator.bars.bar import Bar, BarKey


class BarSink(Protocol):
    """Who keeps closed bars."""

    def put(self, bars: Sequence[Bar]) -> None:
        """Take final and revised bars, which nobody changes any more; awaits nothing."""


class BarAudience(Protocol):
    """Who hears of bars at once."""

    def symbols_wanted(self) -> Collection[str] | None:
        """Return the symbols of which somebody wants bars; None: all."""

    def wanted(self, symbol: str) -> Collection[str]:
        """Return the intervals of which somebody wants the bars of ``symbol``."""

    def partial_changed(self, key: BarKey) -> None:
        """Hear that an open bar changed; :meth:`BarEngine.open_bar` has its newest state."""

    def bar_published(self, bar: Bar) -> None:
        """Hear of an early, final or revised state; an early bar may still change."""

    def interval_completed(self, interval: str, end: int) -> None:
        """Hear that every bar of ``interval`` that ends there was published."""


class NoAudience:
    """Nobody hears."""

    def symbols_wanted(self) -> Collection[str] | None:
        """Return nothing."""
        return ()

    def wanted(self, _symbol: str) -> Collection[str]:
        """Return nothing."""
        return ()

    def partial_changed(self, key: BarKey) -> None:
        """Do nothing."""

    def bar_published(self, bar: Bar) -> None:
        """Do nothing."""

    def interval_completed(self, interval: str, end: int) -> None:
        """Do nothing."""


class NoStore:
    """Nobody keeps bars."""

    def put(self, bars: Sequence[Bar]) -> None:
        """Do nothing."""
