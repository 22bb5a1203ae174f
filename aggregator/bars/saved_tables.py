"""The used parts of the tables, to be saved, and tables made of them.

A part is saved once every list of the batch is empty, so between two batches. What a reader writes
into the tables, so that the next one need not ask Python again, is not saved: the same batches give
the same parts, whoever read meanwhile.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.bars.kernel.pool import index_bars
from aggregator.bars.kernel.records import BY_PYTHON, EARLY, NONE, UNKNOWN_PHASE, Tables
from aggregator.bars.tables import grow_rows, make_column, make_heads

# What the settings say: those of the process count that loads.
SETTINGS = (
    *("slots", "base_ns", "grace", "revise", "live_within", "max_closed"),
    *("max_price", "max_volume"),
)
# Lists that are empty between two batches.
_LISTS = ("deferred", "events", "touched", "ends")


def dump_tables(tables: Tables, count: int) -> dict[str, Any]:
    """Return the parts that are used by so many symbols.

    Raises:
        RuntimeError: a batch is not at its end.
    """
    state = tables.state[0]
    filled = [name for name in _LISTS if state[name]]
    if filled:
        raise RuntimeError(f"a batch is not at its end: {', '.join(filled)}")
    free = tables.free[: int(state["free"])]
    is_used = np.ones(len(tables.bars), np.bool_)
    is_used[free] = False
    places = np.flatnonzero(is_used)
    symbols = tables.symbols[:count]
    bars = _words(tables.bars)[places].view(tables.bars.dtype)[:, 0]
    slots = np.empty(tables.slots[:count].shape, tables.slots.dtype)
    _words(slots)[:] = _words(tables.slots[:count])
    # Readers ask for phases, and for the coverage of bars that wait out the grace.
    unknown = np.where(symbols["rule"] == BY_PYTHON, UNKNOWN_PHASE, 0)
    slots["phase"] = unknown[:, np.newaxis]
    early = np.flatnonzero(bars["state"] == EARLY)
    bars["phase"][early] = unknown[bars["row"][early]]
    bars["coverage"][early] = 0
    # The index is made anew.
    bars["next_alike"] = NONE
    saved_state = tables.state.copy()
    for name in SETTINGS:
        saved_state[name] = 0
    return {
        "state": saved_state,
        "bases": tables.bases[:count],
        "symbols": symbols,
        "slots": slots,
        "bars": bars,
        "places": places,
        "capacity": len(tables.bars),
        # A stack: the order decides which bar gets which place.
        "free": free,
        "all_wanted": tables.all_wanted,
    }


def load_tables(empty: Tables, saved: dict[str, Any]) -> Tables:
    """Return tables with these parts, made of tables without symbols."""
    count, capacity = len(saved["symbols"]), saved["capacity"]
    tables = grow_rows(empty, count)
    settings = {name: empty.state[name][0] for name in SETTINGS}
    tables.state[:] = saved["state"]
    for name, value in settings.items():
        tables.state[name] = value
    for name in ("bases", "symbols", "slots"):
        _words(getattr(tables, name)[:count])[:] = _words(saved[name])
    tables.all_wanted[:] = saved["all_wanted"]
    bars = make_column(capacity, tables.bars.dtype)
    places: NDArray[np.int64] = saved["places"].copy()
    _words(bars)[places] = _words(saved["bars"])
    free = make_column(capacity, np.int64)
    free[: len(saved["free"])] = saved["free"]
    heads = make_heads(capacity)
    index_bars(bars, places, heads)
    deferred = make_column(capacity, np.int64)
    return tables._replace(bars=bars, free=free, deferred=deferred, heads=heads)


def _words(records: NDArray[Any]) -> NDArray[np.int64]:
    # The same memory. numpy copies records field by field, ten times slower than words, and leaves
    # the bytes between the fields to chance.
    words: NDArray[np.int64] = records.view(np.int64)
    return words.reshape(*records.shape, records.itemsize // 8)
