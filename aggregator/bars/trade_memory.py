"""Remember the trades that have an id, so that each counts once and can be amended."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.bars.kernel.memory import Memory, find_remembered, index_trades
from aggregator.bars.tables import make_column
from aggregator.wire.ticks import HAS_ID, Ticks

# The columns of a trade.
_OF_TRADES = ("ids", "rows", "prices", "volumes", "times", "sequences", "marks", "previous")
_KINDS: dict[str, Any] = {"rows": np.int32, "prices": np.float64, "marks": np.int32}


def _make_memory(trades: int) -> Memory:
    slots = 1 << (2 * trades - 1).bit_length() if trades else 1
    columns = {
        name: make_column(trades, _KINDS.get(name, np.int64), (2,) if name == "ids" else ())
        for name in _OF_TRADES
    }
    return Memory(taken=np.zeros(2, np.int64), slots=make_column(slots, np.int32), **columns)


class TradeMemory:
    """The newest trades with an id.

    It takes 64 bytes for a trade, and 8 to 16 to find it, once there are trades with ids.

    Args:
        capacity: how many trades are remembered at most.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self.columns = _make_memory(0)

    def __len__(self) -> int:
        return int(self.columns.taken[0] - self.columns.taken[1])

    def begin(self, ticks: Ticks, start: int, stop: int) -> None:
        """Remember trades from now on if some of the ticks have ids, and there is room for any."""
        if not len(self.columns.rows) and (ticks.marks[start:stop] & HAS_ID).any():
            self.columns = _make_memory(self._capacity)

    def limit(self, capacity: int) -> None:
        """Remember so many trades from now on, of those that are remembered the newest."""
        if capacity != self._capacity:
            saved = self.dump_state()
            self._capacity = capacity
            self.load_state(saved)

    def find(self, row: int, words: NDArray[np.int64]) -> int:
        """Return the place of the trade of a symbol with a packed id, or -1."""
        if not len(self.columns.rows):
            return -1
        return int(find_remembered(self.columns, row, int(words[0]), int(words[1])))

    def dump_state(self) -> dict[str, Any]:
        """Return the trades in their order."""
        places = self._places()
        return {
            "taken": self.columns.taken,
            **{name: getattr(self.columns, name)[places] for name in _OF_TRADES},
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where another memory was, which may have had another capacity."""
        last, first = state["taken"].tolist()
        self.columns = _make_memory(self._capacity if last > first else 0)
        kept = min(last - first, len(self.columns.rows))
        self.columns.taken[:] = last, last - kept
        places = self._places()
        for name in _OF_TRADES:
            getattr(self.columns, name)[places] = state[name][last - first - kept :]
        index_trades(self.columns)

    def _places(self) -> NDArray[np.int64]:
        last, first = self.columns.taken.tolist()
        return np.arange(first, last) % max(len(self.columns.rows), 1)
