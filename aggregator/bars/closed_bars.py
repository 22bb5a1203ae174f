"""Bars of the pool as columns: a :class:`Bar` is made only when somebody asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from aggregator.bars.bar import Bar, BarState, Coverage
from aggregator.bars.candle import Candle
from aggregator.bars.kernel.records import BAR, PHASES, UNSURE
from aggregator.wire.symbol_table import SymbolTable

_STATES = {state.value: state for state in BarState}
_COVERAGES = {coverage.value + unsure: coverage for coverage in Coverage for unsure in (0, UNSURE)}
_WORDS = BAR.itemsize // 8
# What a bar of the pool has besides its candle, as a Bar takes it.
_COLUMNS = (
    *("row", "slot", "start", "end", "state", "revision", "coverage", "refused", "phase"),
    "sequence",
)


def copy_records(records: NDArray[Any], places: NDArray[np.int64]) -> NDArray[Any]:
    """Return copies of some records of bars.

    numpy copies records field by field, ten times slower than words.
    """
    words = records.view(np.int64).reshape(-1, _WORDS)[places]
    copies: NDArray[Any] = words.view(BAR)[:, 0]
    return copies


class ClosedBars(Sequence[Bar]):
    """Copies of bars of the pool, which are filled in.

    Args:
        records: the bars.
        symbols: their symbols by row.
        names: their intervals by slot.
    """

    def __init__(self, records: NDArray[Any], symbols: SymbolTable, names: Sequence[str]) -> None:
        self.records = records
        self._symbols = symbols
        self._names = names

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, index: int) -> Bar: ...
    @overload
    def __getitem__(self, index: slice) -> ClosedBars: ...
    def __getitem__(self, index: int | slice) -> Bar | ClosedBars:
        if isinstance(index, slice):
            return ClosedBars(self.records[index], self._symbols, self._names)
        (bar,) = self.pick([index])
        return bar

    def __iter__(self) -> Iterator[Bar]:
        symbols, names, records = self._symbols.symbols, self._names, self.records
        columns = zip(*(records[name].tolist() for name in _COLUMNS), strict=True)
        for others, candle in zip(columns, records["candle"].tolist(), strict=True):
            row, slot, start, end, state, revision, coverage, refused, phase, sequence = others
            yield Bar(
                symbols[row],
                names[slot],
                start,
                end,
                Candle(candle),
                0,
                _STATES[state],
                revision,
                _COVERAGES[coverage],
                refused,
                PHASES[phase],
                sequence,
            )

    def pick(self, indexes: Sequence[int]) -> ClosedBars:
        """Return some of the bars."""
        places = np.array(indexes, np.int64)
        return ClosedBars(copy_records(self.records, places), self._symbols, self._names)

    def followed_by(self, others: Sequence[ClosedBars]) -> ClosedBars:
        """Return these bars and others of the same table."""
        parts = [each.records.view(np.int64).reshape(-1, _WORDS) for each in (self, *others)]
        records: NDArray[Any] = np.concatenate(parts).view(BAR)[:, 0]
        return ClosedBars(records, self._symbols, self._names)

    def find(self, symbol: str, interval: str) -> list[int]:
        """Return the indexes of the bars of one symbol and interval."""
        row = self._symbols.rows.get(symbol)
        if row is None or interval not in self._names:
            return []
        records = self.records
        is_one = (records["row"] == row) & (records["slot"] == self._names.index(interval))
        found: list[int] = np.flatnonzero(is_one).tolist()
        return found

    def column(self, name: str) -> list[Any]:
        """Return the values that a field has, as the store keeps them.

        Args:
            name: of a field of ``BAR_FIELDS`` that is not of the candle.
        """
        records = self.records
        if name == "symbol":
            symbols = self._symbols.symbols
            return [symbols[row] for row in records["row"].tolist()]
        if name == "interval":
            return [self._names[slot] for slot in records["slot"].tolist()]
        if name == "phase":
            return [PHASES[phase] for phase in records["phase"].tolist()]
        if name == "number":
            return [0] * len(records)
        values = records[name]
        found: list[Any] = (values % UNSURE if name == "coverage" else values).tolist()
        return found

    def candle_column(self, name: str) -> list[Any]:
        """Return the values of a field of the candle."""
        found: list[Any] = self.records["candle"][name].tolist()
        return found


def join(parts: Sequence[ClosedBars]) -> Sequence[Bar]:
    """Return the bars of all parts, which are of one table."""
    if len(parts) <= 1:
        return parts[0] if parts else ()
    return parts[0].followed_by(parts[1:])
