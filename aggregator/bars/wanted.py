"""Which bars somebody wants to hear of."""

from __future__ import annotations

from collections.abc import Collection


class Wanted:
    """The series that are wanted by the symbol's name, and the intervals of all symbols.

    Args:
        intervals: how many there are.
    """

    def __init__(self, intervals: int) -> None:
        self._intervals = intervals
        self._of_all: set[int] = set()
        # By row.
        self._by_name: dict[int, set[int]] = {}

    def __bool__(self) -> bool:
        return bool(self._of_all or self._by_name)

    def want(self, series: int, on: bool) -> None:
        """Know whether anyone wants a series by name."""
        row, number = divmod(series, self._intervals)
        if on:
            self._by_name.setdefault(row, set()).add(number)
        elif row in self._by_name:
            self._by_name[row].discard(number)
            if not self._by_name[row]:
                del self._by_name[row]

    def want_all(self, number: int, on: bool) -> None:
        """Know whether anyone wants the interval of every symbol."""
        if on:
            self._of_all.add(number)
        else:
            self._of_all.discard(number)

    def __contains__(self, series: int) -> bool:
        row, number = divmod(series, self._intervals)
        return number in self._of_all or number in self._by_name.get(row, ())

    def numbers(self, row: int) -> Collection[int]:
        """Return the intervals that are wanted of a symbol."""
        return self._of_all | self._by_name.get(row, set())
