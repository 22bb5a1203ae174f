"""The ids of trades that were counted, as ranges: exchanges count their trades."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator

SEPARATOR = ";"
# Stands for trades whose ids are not known.
UNKNOWN = "?"
# An id is a number with something before it, such as a day and an exchange.
_ID = re.compile(r"([0-9A-Za-z:_./+-]*?)(0|[1-9][0-9]{0,17})", re.ASCII)
# An hour whose ids have more gaps is not remembered, so that the store stays small.
MAX_RANGES = 64


def split_id(trade_id: bytes) -> tuple[str, int] | None:
    """Return what stands before the number, and the number; None: the id has none."""
    found = _ID.fullmatch(trade_id.decode("ascii", "replace"))
    return None if found is None else (found[1], int(found[2]))


class Ranges:
    """A set of numbers, small if most of them follow each other."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def __len__(self) -> int:
        """Return how many ranges there are."""
        return len(self._firsts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Return the first and the last number of each range."""
        return zip(self._firsts, self._lasts, strict=True)

    def add(self, first: int, last: int) -> bool:
        """Add the numbers of a range; return whether none of them was there."""
        firsts, lasts = self._firsts, self._lasts
        # Those before it that neither overlap nor touch it.
        if not lasts or first > lasts[-1] + 1:
            firsts.append(first)
            lasts.append(last)
            return True
        if first == lasts[-1] + 1:
            lasts[-1] = last
            return True
        begin = bisect_right(lasts, first - 2)
        end = bisect_right(firsts, last + 1)
        is_new = all(last < firsts[place] or first > lasts[place] for place in range(begin, end))
        if begin < end:
            first, last = min(first, firsts[begin]), max(last, lasts[end - 1])
        firsts[begin:end] = [first]
        lasts[begin:end] = [last]
        return is_new


class Ids:
    """Ids of trades of one symbol."""

    def __init__(self) -> None:
        self._ranges: dict[str, Ranges] = {}
        # Whether some ids are not in here.
        self.unknown = False

    def add(self, found: tuple[str, int] | None) -> bool:
        """Add an id; return whether it was not there."""
        if found is None:
            self.unknown = True
            return True
        prefix, number = found
        ranges = self._ranges.get(prefix)
        if ranges is None:
            ranges = self._ranges[prefix] = Ranges()
        return ranges.add(number, number)

    def add_text(self, text: str) -> bool:
        """Add what :meth:`to_text` returned, maybe several times; return whether all is new."""
        is_new = True
        for part in filter(None, text.split(SEPARATOR)):
            if part == UNKNOWN:
                self.unknown = True
                continue
            prefix, _, ends = part.rpartition("=")
            first, _, last = ends.partition("-")
            is_new &= self._ranges.setdefault(prefix, Ranges()).add(int(first), int(last or first))
        return is_new

    def to_text(self) -> str:
        """Return all ids; those with many gaps are not known afterwards."""
        count = sum(map(len, self._ranges.values()))
        if self.unknown or count > MAX_RANGES:
            return UNKNOWN + SEPARATOR
        return "".join(
            f"{prefix}={first}{f'-{last}' if last > first else ''}{SEPARATOR}"
            for prefix, ranges in sorted(self._ranges.items())
            for first, last in ranges
        )

    @property
    def prefixes(self) -> Iterable[str]:
        """What stands before the numbers."""
        return self._ranges.keys()


def are_other_trades(one: str, other: str) -> bool:
    """Return whether ids say that two sets of trades have none in common.

    Ids that begin in different ways may be two names of one trade.
    """
    ids = Ids()
    ids.add_text(one)
    theirs = Ids()
    theirs.add_text(other)
    if ids.unknown or theirs.unknown or not set(ids.prefixes) & set(theirs.prefixes):
        return False
    return ids.add_text(other)
