"""Remember when ticks were refused, so that no bar of their time claims to have all trades."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

# Times of one symbol that are told apart; beyond, neighbours are joined two by two.
MAX_RANGES = 1_000
# Of all symbols, 100 MB; beyond, all times of a symbol are joined.
MAX_ALL_RANGES = 500_000
# Beyond, the refusals of further symbols count for every symbol.
MAX_SYMBOLS = 100_000
# Such refusals have this name, which no symbol has.
EVERY_SYMBOL = "*"


class Range(NamedTuple):
    """Ticks that were refused, with first <= exchange time <= last."""

    first: int
    last: int
    ticks: int


class Refusals:
    """The ticks that were refused, by symbol and exchange time.

    Where there are too many to keep apart, more bars have refusals than need be, never fewer.
    :attr:`changed` has the symbols that changed since they were stored.
    """

    def __init__(self) -> None:
        # By symbol; none of its ranges overlap, the earliest is first.
        self._ranges: dict[str, list[Range]] = {}
        self._total = 0
        self.changed: set[str] = set()

    @property
    def has_every_symbol(self) -> bool:
        """Whether some refusals count for every symbol."""
        return EVERY_SYMBOL in self._ranges

    def knows(self, symbol: str) -> bool:
        """Return whether there are refusals of a symbol."""
        return symbol in self._ranges

    def restore(self, stored: Mapping[str, Iterable[Range]]) -> None:
        """Take over what an earlier run stored; call it before the first tick."""
        for symbol, ranges in stored.items():
            self._ranges[symbol] = sorted(ranges)
            self._total += len(self._ranges[symbol])

    def take_changes(self) -> dict[str, list[Range]]:
        """Return all ranges of the symbols that changed since the last call."""
        changed, self.changed = self.changed, set()
        return {symbol: list(self._ranges[symbol]) for symbol in changed}

    def add(self, symbol: str, ts: int) -> None:
        """Note that a tick was refused."""
        if symbol not in self._ranges and len(self._ranges) >= MAX_SYMBOLS:
            symbol = EVERY_SYMBOL
        ranges = self._ranges.setdefault(symbol, [])
        self.changed.add(symbol)
        at = bisect_left(ranges, ts, key=_last)
        if at < len(ranges) and ranges[at].first <= ts:
            first, last, ticks = ranges[at]
            ranges[at] = Range(first, last, ticks + 1)
            return
        ranges.insert(at, Range(ts, ts, 1))
        self._total += 1
        if len(ranges) > MAX_RANGES or self._total > MAX_ALL_RANGES:
            step = 2 if len(ranges) > MAX_RANGES else len(ranges)
            joined = [_join(ranges[each : each + step]) for each in range(0, len(ranges), step)]
            self._total -= len(ranges) - len(joined)
            ranges[:] = joined

    def count(self, symbol: str, start: int, end: int) -> int:
        """Return how many ticks of start <= exchange time < end were refused, or more."""
        return self._count(symbol, start, end) + self._count(EVERY_SYMBOL, start, end)

    def _count(self, symbol: str, start: int, end: int) -> int:
        ranges = self._ranges.get(symbol)
        if ranges is None:
            return 0
        count = 0
        for each in ranges[bisect_left(ranges, start, key=_last) :]:
            if each.first >= end:
                break
            count += each.ticks
        return count

    def dump_state(self) -> dict[str, Any]:
        """Return the ranges of all symbols."""
        by_symbol = sorted(self._ranges.items())
        ranges = [each for _, ranges in by_symbol for each in ranges]
        return {
            "symbols": [symbol for symbol, _ in by_symbol],
            "counts": [len(ranges) for _, ranges in by_symbol],
            "ranges": np.array(ranges, np.int64).reshape(-1, 3),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over the ranges of another one; the store gets all of them again."""
        ranges = iter(map(Range._make, state["ranges"].tolist()))
        counts = zip(state["symbols"], state["counts"], strict=True)
        self._ranges = {symbol: list(islice(ranges, count)) for symbol, count in counts}
        self._total = len(state["ranges"])
        self.changed = set(self._ranges)


def _last(each: Range) -> int:
    return each.last


def _join(ranges: list[Range]) -> Range:
    return Range(ranges[0].first, ranges[-1].last, sum(each.ticks for each in ranges))
