"""One bar that waits, as its place among the bars that closed with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from aggregator.bars.bar import Bar
from aggregator.bars.closed_bars import ClosedBars

# Symbol, interval, start and number, as a BarKey has them.
Key = tuple[str, str, int, int]


class Waiting(NamedTuple):
    """A bar: an index into bars that were put together."""

    part: Sequence[Bar]
    at: int

    @property
    def bar(self) -> Bar:
        """The bar, made when it is asked for."""
        return self.part[self.at]


def keys_of(part: Sequence[Bar]) -> Iterable[Key]:
    """Return what names each bar."""
    if isinstance(part, ClosedBars):
        names = ("symbol", "interval", "start", "number")
        return zip(*map(part.column, names), strict=True)
    return [bar.key for bar in part]


def find_in(part: Sequence[Bar], symbol: str, interval: str) -> Iterator[Bar]:
    """Give the bars of one symbol and interval."""
    if isinstance(part, ClosedBars):
        yield from part.pick(part.find(symbol, interval))
    else:
        yield from (bar for bar in part if (bar.symbol, bar.interval) == (symbol, interval))


def ends_of(waiting: Iterable[Waiting]) -> set[int]:
    """Return when some bars end."""
    ends: set[int] = set()
    for part in gather(waiting):
        if isinstance(part, ClosedBars):
            ends.update(part.column("end"))
        else:
            ends.update(bar.end for bar in part)
    return ends


def gather(waiting: Iterable[Waiting]) -> list[Sequence[Bar]]:
    """Return some bars in their order, those that follow each other in a part as one part."""
    return [
        _pick(group[0].part, [each.at for each in group])
        for _, grouped in groupby(waiting, key=_part_id)
        if (group := list(grouped))
    ]


def _part_id(waiting: Waiting) -> int:
    return id(waiting.part)


def _pick(part: Sequence[Bar], indexes: Sequence[int]) -> Sequence[Bar]:
    if isinstance(part, ClosedBars):
        return part.pick(indexes)
    return [part[index] for index in indexes]
