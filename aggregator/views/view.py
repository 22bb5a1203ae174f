"""The interface of a view: it keeps something of all trades of a symbol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from aggregator.bars.source import Accepted
from aggregator.wire.ticks import DECIMALS, EXCLUDES, EXCLUDES_SHIFT

# By symbol: plain values that JSON knows. They are part of the aggregator's state, so a restart or
# a replay makes the same ones again.
States = dict[str, dict[str, Any]]


class Trades(NamedTuple):
    """Accepted trades in the order of their arrival, a column for each field.

    Attributes:
        symbols: the symbol of each row.
        rows: int32.
        prices: doubles.
        volumes: int64, which count 10^-decimals.
        decimals: of the volumes.
        times: exchange times in ns, int64.
        excludes: the numbers that each does not move, see ``Exclude``.
    """

    symbols: Sequence[str]
    rows: NDArray[np.int32]
    prices: NDArray[np.float64]
    volumes: NDArray[np.int64]
    decimals: NDArray[np.int32]
    times: NDArray[np.int64]
    excludes: NDArray[np.int32]


def accepted_trades(accepted: Accepted, symbols: Sequence[str]) -> Trades:
    """Return the accepted trades of a batch, in columns of their own."""
    ticks, part = accepted.ticks, slice(accepted.start, accepted.stop)
    chosen = np.ones(len(ticks.rows[part]), np.bool_)
    chosen[[index - accepted.start for index in accepted.rejected]] = False
    return Trades(
        symbols,
        ticks.rows[part][chosen],
        ticks.prices[part][chosen],
        ticks.volumes[part][chosen],
        ticks.marks[part][chosen] & DECIMALS,
        ticks.times[part][chosen],
        ticks.marks[part][chosen] >> EXCLUDES_SHIFT & EXCLUDES,
    )


class View(Protocol):
    """A view: a name, and one method that takes trades.

    Its states must follow from the trades alone: no clock, no chance.
    """

    name: str

    def add(self, states: States, trades: Trades) -> None:
        """Bring the states of the symbols up to date with some trades."""
