"""How many symbols to close at once, so that nothing else waits for long."""

from __future__ import annotations

# What one slice should take: no tick and no reader waits longer than 1 ms for it, also when the
# last measurement was too low.
SLICE_S = 0.0006
# To begin with: at 2 us each.
FIRST_SYMBOLS = 300
# A slice costs 30 us besides its symbols.
MIN_SYMBOLS = 50
MAX_SYMBOLS = 20_000
# By how much the next slice may be larger than the last one.
MAX_GROWTH = 2
# At the end of a minute or an hour more bars end than at the end of a second. So the first slice is
# a part of what the last ones were.
FIRST_PART = 4


class Slices:
    """The number of symbols per slice, which follows their measured cost.

    The number is part of the input, so a replay closes the same symbols with it.

    Args:
        most: how many symbols at most: the store must have room for their bars.
    """

    def __init__(self, most: int = MAX_SYMBOLS) -> None:
        self._most = max(1, min(most, MAX_SYMBOLS))
        self._least = min(MIN_SYMBOLS, self._most)
        self.symbols = min(FIRST_SYMBOLS, self._most)

    def begin(self) -> None:
        """Begin with a small slice: what the next symbols cost is not known."""
        self.symbols = max(self.symbols // FIRST_PART, self._least)

    def took(self, seconds: float, *, is_full: bool) -> None:
        """Take note of what the last slice took, and whether it had all its symbols."""
        most = self.symbols * MAX_GROWTH if is_full else self.symbols
        if seconds * most > SLICE_S * self.symbols:
            most = int(self.symbols * SLICE_S / seconds)
        self.symbols = min(max(most, self._least), self._most)
