"""The bars of an answer: plain objects, or a table of Arrow, polars or pandas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

from marketdata.client.columns import BAR_COLUMNS
from marketdata.client.decode import Row, decode_bar
from marketdata.client.rows import Bar
from marketdata.client.tables import arrow_table, pandas_frame, polars_frame

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

_KEYS = tuple(column.name for column in BAR_COLUMNS)


class Bars(Sequence[Bar]):
    """Bars of one symbol and interval, by start.

    As tables they have one column per field, with the name that it has in :class:`Bar`, but times
    are ``start`` and ``end``, in nanoseconds and UTC. Prices are floats, sizes exact decimals.
    """

    def __init__(self, symbol: str, interval: str, rows: Iterable[Row] = ()) -> None:
        self.symbol = symbol
        self.interval = interval
        # Columns of JSON values: objects for each bar would take ten times the memory.
        self._columns: dict[str, list[Any]] = {key: [] for key in _KEYS}
        self.extend(rows)

    def extend(self, rows: Iterable[Row]) -> None:
        """Add JSON objects."""
        rows = list(rows)
        for key, values in self._columns.items():
            values.extend([row.get(key) for row in rows])

    def __len__(self) -> int:
        return len(self._columns[_KEYS[0]])

    def __repr__(self) -> str:
        if not self:
            return f"<no bars of {self.symbol} {self.interval}>"
        first, last = self[0].start, self[-1].start
        many = f"{len(self):,} bar{'s' if len(self) > 1 else ''}"
        return f"<{many} of {self.symbol} {self.interval}, {first:%F %T} to {last:%F %T} UTC>"

    def __iter__(self) -> Iterator[Bar]:
        return map(self.__getitem__, range(len(self)))

    @overload
    def __getitem__(self, at: int) -> Bar: ...

    @overload
    def __getitem__(self, at: slice) -> list[Bar]: ...

    def __getitem__(self, at: int | slice) -> Bar | list[Bar]:
        if isinstance(at, slice):
            return [self[each] for each in range(len(self))[at]]
        return decode_bar({key: values[at] for key, values in self._columns.items()})

    def to_arrow(self) -> pyarrow.Table:
        """Return a table of Arrow.

        Raises:
            MissingExtra: pyarrow is not installed.
        """
        return arrow_table(BAR_COLUMNS, self._columns)

    def to_polars(self) -> polars.DataFrame:
        """Return a data frame of polars.

        Raises:
            MissingExtra: polars is not installed.
        """
        frame: polars.DataFrame = polars_frame(BAR_COLUMNS, self._columns)
        return frame

    def to_pandas(self) -> pandas.DataFrame:
        """Return a data frame of pandas whose index is ``start``; sizes are ``Decimal`` objects.

        Raises:
            MissingExtra: pandas is not installed.
        """
        frame: pandas.DataFrame = pandas_frame(BAR_COLUMNS, self._columns).set_index("start")
        return frame
