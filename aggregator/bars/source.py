"""The seam between kinds of bars: what ends with time, and what ends after trades or money."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from aggregator.bars.bar import Bar
from aggregator.bars.published import Published
from aggregator.wire.ticks import Ticks


class Amendment(NamedTuple):
    """A trade that was cancelled or corrected."""

    row: int
    ts: int
    sequence: int
    # What it is now, unless it was cancelled.
    price: float
    volume: int
    decimals: int
    excludes: int
    is_cancelled: bool


class Accepted(NamedTuple):
    """The ticks of a batch that were accepted."""

    ticks: Ticks
    # The first and the last one, plus 1, of the columns that count.
    start: int
    stop: int
    # The sequence of the first tick of the columns.
    first_sequence: int
    # The indexes of ticks between that are no trades, or were rejected, here or by the sender.
    rejected: frozenset[int]
    amends: Sequence[Amendment] = ()


class BarSource(Protocol):
    """The bars of some intervals of all symbols.

    A row is a symbol, an index is one of :attr:`names`.
    """

    names: list[str]

    # Trades and time.

    def open(self, symbol: str, row: int) -> None:
        """Know the symbol of the next row."""

    def end_batch(self, accepted: Accepted) -> Sequence[Bar]:
        """Publish what became of a batch; return the bars that closed."""

    def next_timer(self) -> int | None:
        """Return when the wall clock closes something next."""

    def close_due(self, now_ns: int, max_symbols: int) -> tuple[Sequence[Bar], bool]:
        """Close what ends by the wall clock; return the bars, and whether that was all."""

    # Bars in memory.

    def sequence(self, row: int, index: int) -> int:
        """Return how many states were published."""

    def open_bar(self, row: int, index: int) -> Bar | None:
        """Return the present state of the bar that is open, or None."""

    def recent(self, row: int, index: int, from_ns: int, to_ns: int) -> list[Bar]:
        """Return copies of the others with from_ns <= start < to_ns."""

    def flush(self) -> list[Bar]:
        """Let trades count that wait for others, at the end; return the bars that closed."""

    def open_bars(self) -> Iterator[Bar]:
        """Give copies of all bars that are not closed, those of the longest intervals first."""

    def count_open(self) -> int:
        """Return how many :meth:`open_bars` gives."""

    def restore(self, row: int, index: int, bar: Bar) -> None:
        """Take over a bar of an earlier epoch, before the first trade."""

    def finish_restore(self) -> None:
        """Go on after the bars that were taken over."""

    def dump_state(self) -> dict[str, Any]:
        """Return what the table of symbols does not have."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where another one was, after the table."""

    # Listeners.

    def want(self, row: int, index: int, on: bool) -> None:
        """Know whether anyone wants the bars of a symbol by its name."""

    def want_all(self, index: int, on: bool) -> None:
        """Know whether anyone wants the bars of every symbol."""

    def present(self, series: Iterable[int]) -> tuple[list[Published], list[int]]:
        """Return the bars that wait out the grace; publish the open ones, return their series."""

    def partials(self, series: Sequence[int] | NDArray[np.int64]) -> list[bytes]:
        """Return the newest state of each open bar, as one of the ``bars`` of an ``UpdateBatch``.

        Empty where no bar is open, or it was never published.
        """
