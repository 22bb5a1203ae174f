"""The trades of a run, in batches whose bounds are the same in every run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from tests.doubles.real_day import COLUMNS, day

#: Its price and volume are the number of the trade, so a wrong total shows which are missing.
NUMBERED = "NUMBERED"

BATCH_SIZE = 250
# One trade of so many: enough for every bar of the day.
_STRIDE = 25
# One numbered trade after so many real ones.
_NUMBERED_EVERY = 25

#: Symbol, price, volume, exchange time in ns.
Trade = tuple[str, float, int, int]


@cache
def make_batches() -> Sequence[Sequence[Trade]]:
    """Return the trades of a real day, thinned out, with numbered ones between them."""
    trades: list[Trade] = []
    number = 0
    for index, row in enumerate(day().select(COLUMNS).rows()[::_STRIDE]):
        trades.append(row)
        if index % _NUMBERED_EVERY == 0:
            number += 1
            trades.append((NUMBERED, float(number), number, row[3]))
    return [trades[at : at + BATCH_SIZE] for at in range(0, len(trades), BATCH_SIZE)]


@cache
def symbols() -> Sequence[str]:
    """Return the symbols of the trades."""
    return sorted({trade[0] for batch in make_batches() for trade in batch})


def count_trades() -> int:
    """Return how many trades there are."""
    return sum(len(batch) for batch in make_batches())
