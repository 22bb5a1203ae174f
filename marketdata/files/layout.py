"""How one file is written, as its rows are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from marketdata.conditions import ConditionRule
from marketdata.files.columns import Prices, Sizes
from marketdata.files.formats import Role
from marketdata.files.times import Counted, Times


@dataclass(frozen=True, slots=True)
class Table:
    """The lines of a file as rows of cells."""

    delimiter: str
    quoted: bool
    # The bytes and lines before the first row.
    head_bytes: int
    head_lines: int
    # The names of the columns as the file has them, or none.
    names: tuple[str, ...]
    width: int
    has_header: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """Which column has which value, and how the values are written."""

    table: Table
    # What was understood, in one line.
    title: str
    columns: Mapping[Role, int]
    symbol: str
    prices: Prices
    sizes: Sizes
    times: Times
    # A row is a trade if this column has one of these values.
    trades: tuple[int, frozenset[str]] | None = None
    id_columns: tuple[int, ...] = ()
    id_prefix: str = ""
    conditions: ConditionRule = ConditionRule.TAPE
    footer: str = ""

    def column_name(self, column: int) -> str:
        """Return the name of a column for a message."""
        if self.table.has_header:
            return self.table.names[column]
        roles = [role for role, place in self.columns.items() if place == column]
        return f"column {column + 1} ({', '.join(roles)})"

    @property
    def needed(self) -> list[int]:
        """All columns that are read."""
        more = () if self.trades is None else (self.trades[0],)
        return sorted({*self.columns.values(), *self.id_columns, *more})

    @property
    def in_ns(self) -> bool:
        """Whether the times of the trades are in nanoseconds, and not as the file has them."""
        return not isinstance(self.times, Counted)
