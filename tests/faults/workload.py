"""The trades of a run, in batches whose bounds are the same in every run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache

from marketdata.timestamps import NS_PER_S
from tests.doubles.real_day import COLUMNS, day

#: Its price and volume are the number of the trade, so a wrong total shows which are missing.
NUMBERED = "NUMBERED"

BATCH_SIZE = 250
# After the last trade of the day; longer than bars wait for late ticks.
_LAST_AFTER_NS = 10 * NS_PER_S
# One trade of so many: enough for every bar of the day.
_STRIDE = 25
# One numbered trade after so many real ones.
_NUMBERED_EVERY = 25

#: Symbol, price, volume, exchange time in ns.
Trade = tuple[str, float, int, int]
Batch = Sequence[Trade]


@cache
def make_batches() -> Sequence[Batch]:
    """Return the trades of a real day, thinned out, with numbered ones between them.

    The first batch has one trade of each symbol, so that clients can know that they follow.
    """
    trades: list[Trade] = []
    number = 0
    for index, row in enumerate(day().select(COLUMNS).rows()[::_STRIDE]):
        trades.append(row)
        if index % _NUMBERED_EVERY == 0:
            number += 1
            trades.append((NUMBERED, float(number), number, row[3]))
    begin = trades[0][3] - NS_PER_S
    first = [(symbol, 100.0, 1, begin) for symbol in sorted({trade[0] for trade in trades})]
    return [first, *(trades[at : at + BATCH_SIZE] for at in range(0, len(trades), BATCH_SIZE))]


@cache
def symbols() -> Sequence[str]:
    """Return the symbols of the trades."""
    return [trade[0] for trade in make_batches()[0]]


@cache
def last_batch() -> Batch:
    """Return one trade of each symbol, later than all others; no fault may be left.

    Trades of event bars wait until a later one comes, or the wall clock says that none will. After
    these trades, only they themselves wait.
    """
    end = max(trade[3] for batch in make_batches() for trade in batch) + _LAST_AFTER_NS
    return [(symbol, 100.0, 1, end) for symbol in symbols()]


@cache
def count_trades() -> Mapping[str, int]:
    """Return how many trades each symbol has, with that of the last batch."""
    return Counter(trade[0] for batch in (*make_batches(), last_batch()) for trade in batch)
