"""How much was traded at each price."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache

import numpy as np

from aggregator.views.view import States, Trades
from marketdata.decimals import EXACT, plain

_DAY_NS = 86_400 * 10**9
# Prices are put together by their first digits, so that a symbol has at most some thousand levels.
_DIGITS = 4
MAX_LEVELS = 10_000


class VolumeProfile:
    """The volume by price of the latest UTC day of each symbol, prices to four digits.

    Trades of an earlier day than the latest change nothing. What finds no room among
    :data:`MAX_LEVELS` prices is counted as ``other``.
    """

    name = "volume-profile"

    def add(self, states: States, trades: Trades) -> None:
        """Take trades in."""
        if not len(trades.rows):
            return
        days = trades.times // _DAY_NS
        order = np.lexsort((trades.prices, days, trades.rows))
        rows, days, prices = trades.rows[order], days[order], trades.prices[order]
        volumes, decimals = trades.volumes[order].tolist(), trades.decimals[order].tolist()
        is_new = (np.diff(rows) != 0) | (np.diff(days) != 0) | (np.diff(prices) != 0)
        starts = [0, *(np.flatnonzero(is_new) + 1).tolist()]
        for at, end in zip(starts, [*starts[1:], len(order)], strict=True):
            # All of one scale; Python's integers do not overflow.
            volume = Decimal(sum(volumes[at:end])).scaleb(-decimals[at])
            symbol, day = trades.symbols[rows[at]], _name_of(int(days[at]))
            _add_level(states, symbol, day, _level_of(float(prices[at])), volume)


@lru_cache(maxsize=100_000)
def _level_of(price: float) -> str:
    return format(Decimal(f"{price:.{_DIGITS}g}"), "f")


@lru_cache
def _name_of(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).date().isoformat()


def _add_level(states: States, symbol: str, day: str, level: str, volume: Decimal) -> None:
    state = states.get(symbol)
    if state is None or state["day"] < day:
        state = states[symbol] = {"day": day, "levels": {}, "other": "0"}
    if state["day"] > day:
        return
    levels = state["levels"]
    if level in levels or len(levels) < MAX_LEVELS:
        levels[level] = _sum(levels.get(level, "0"), volume)
    else:
        state["other"] = _sum(state["other"], volume)


def _sum(total: str, volume: Decimal) -> str:
    return plain(EXACT.add(Decimal(total), volume))
