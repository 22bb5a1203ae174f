"""Which bars a listener wants."""

from __future__ import annotations

from typing import Any

import numpy as np


class Wanted:
    """The bars that are wanted by the symbol's name, and the intervals wanted of all symbols."""

    def __init__(self) -> None:
        self._of_all: set[int] = set()
        self._by_name: set[tuple[int, int]] = set()

    def __bool__(self) -> bool:
        return bool(self._of_all or self._by_name)

    def __contains__(self, bars: tuple[int, int]) -> bool:
        return bars[1] in self._of_all or bars in self._by_name

    def want(self, row: int, index: int, on: bool) -> None:
        """Know whether anyone wants the bars of a symbol by its name."""
        if on:
            self._by_name.add((row, index))
        else:
            self._by_name.discard((row, index))

    def want_all(self, index: int, on: bool) -> None:
        """Know whether anyone wants the bars of every symbol."""
        if on:
            self._of_all.add(index)
        else:
            self._of_all.discard(index)

    def dump_state(self) -> dict[str, Any]:
        """Return what is wanted."""
        by_name = np.array(sorted(self._by_name), np.int64).reshape(-1, 2)
        return {"of_all": sorted(self._of_all), "by_name": by_name}

    def load_state(self, state: dict[str, Any]) -> None:
        """Want what another one wanted."""
        self._of_all = set(state["of_all"])
        self._by_name = set(map(tuple, state["by_name"].tolist()))
