"""Series of bars that end after trades, as arrays, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.bars.event_series import EventSeries
from aggregator.bars.saved_bars import pack_bars, unpack_bars

_NUMBERS = ("decimals", "sequence", "open_sequence", "last_start", "last_number", "late", "capped")
_REACHED = ("reached_ts", "reached_sequence")
# How many trades wait, how many bars are full, and whether one is open: 0 or 1.
_COUNTS = ("pending", "recent", "open")
SAVED_SERIES = np.dtype([(name, np.int64) for name in (*_NUMBERS, *_REACHED, *_COUNTS)])
SAVED_TRADE = np.dtype(
    [
        *(("ts", np.int64), ("sequence", np.int64), ("price", np.float64)),
        *(("volume", np.int64), ("excludes", np.int64)),
    ]
)


def dump_series(series: Iterable[EventSeries]) -> dict[str, Any]:
    """Return series as arrays, which have their trades and bars one after the other."""
    rows, trades, bars = [], [], []
    for each in series:
        state = each.dump_state()
        own = [] if state["bar"] is None else [state["bar"]]
        counts = (len(state["pending"]), len(state["recent"]), len(own))
        rows.append((*(state[name] for name in _NUMBERS), *state["reached"], *counts))
        trades += state["pending"]
        bars += [*state["recent"], *own]
    return {
        "series": np.array(rows, SAVED_SERIES),
        "trades": np.array(trades, SAVED_TRADE),
        "bars": pack_bars(bars),
    }


def load_series(named: Iterable[tuple[str, EventSeries]], saved: dict[str, Any]) -> None:
    """Let series, each with its symbol, go on where others were."""
    trades, bars = _Parts(saved["trades"]), _Parts(saved["bars"])
    rows = _as_dicts(saved["series"])
    for (symbol, series), row in zip(named, rows, strict=True):
        own = unpack_bars(bars.take(row["recent"] + row["open"]), symbol, series.name)
        state = {name: row[name] for name in _NUMBERS}
        state["reached"] = tuple(row[name] for name in _REACHED)
        state["pending"] = trades.take(row["pending"]).tolist()
        state["recent"] = own[: row["recent"]]
        state["bar"] = own[-1] if row["open"] else None
        series.load_state(state)


class _Parts:
    # The parts of an array, one after the other.
    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array
        self._at = 0

    def take(self, count: int) -> NDArray[Any]:
        self._at += count
        return self._array[self._at - count : self._at]


def _as_dicts(records: NDArray[Any]) -> Iterator[dict[str, Any]]:
    names = records.dtype.names or ()
    for record in records.tolist():
        yield dict(zip(names, record, strict=True))
