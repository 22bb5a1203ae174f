"""The last trade of each symbol."""

from __future__ import annotations

import numpy as np

from aggregator.views.view import States, Trades
from marketdata.decimals import plain_decimal
from marketdata.wire.market_data_pb2 import Exclude


class LastTrade:
    """Price, volume and time of the trade with the latest exchange time.

    Of equal times, the last that arrived counts. Trades that do not move the close are left out.
    """

    name = "last-trade"

    def add(self, states: States, trades: Trades) -> None:
        """Take trades in."""
        # Of several assignments to one row the last one holds.
        newest = np.full(len(trades.symbols), -1, np.int64)
        by_time = np.argsort(trades.times, kind="stable")
        by_time = by_time[trades.excludes[by_time] & Exclude.EXCLUDE_LAST == 0]
        newest[trades.rows[by_time]] = by_time
        for row in np.flatnonzero(newest >= 0).tolist():
            index = newest[row]
            time = int(trades.times[index])
            state = states.setdefault(trades.symbols[row], {"timeNs": "0"})
            if time >= int(state["timeNs"]):
                state["price"] = float(trades.prices[index])
                state["volume"] = plain_decimal(
                    int(trades.volumes[index]), int(trades.decimals[index])
                )
                state["timeNs"] = str(time)
