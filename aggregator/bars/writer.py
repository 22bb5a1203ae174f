"""Write states of bars as the encoded records of an ``UpdateBatch``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aggregator.bars.bar import BarState
from aggregator.bars.bar_table import BarTable
from aggregator.bars.kernel import encode
from aggregator.bars.kernel.records import BAR, PHASES
from aggregator.bars.published import PublishedBars
from aggregator.wire.encoded import EncodedRoom, pack_names

_PHASES = pack_names(PHASES, encode.NAME_WIDTH)


class BarWriter:
    """Write the bars of a table.

    Args:
        table: the bars.
        step: how many series a symbol has.
    """

    def __init__(self, table: BarTable, step: int) -> None:
        self._table = table
        self._step = step
        self._names = pack_names(table.names, encode.NAME_WIDTH)
        self._room = EncodedRoom(encode.MAX_BAR_BYTES, BAR)

    def write_open(self, series: NDArray[np.int64], epoch: int) -> list[bytes]:
        """Return the newest states of open bars; empty where no state of one was counted."""
        count, table = len(series), self._table
        if not count:
            return []
        found, coverages = table.find_open(series, self._step)
        out = self._room.reserve(count)
        encode.encode_open_bars(found, coverages, table.open_tables, self._texts(), epoch, out)
        return self._room.cut(count)

    def write_places(self, places: NDArray[np.int64], epoch: int) -> PublishedBars:
        """Return the states of bars in the pool, which are filled in."""
        count, bars = len(places), self._table.tables.bars
        out = self._room.reserve(count)
        size = encode.encode_bars(places, bars, self._texts(), epoch, out)
        found = np.zeros((count, 4), np.int64)
        found[:, 0] = bars["row"][places] * self._step + bars["slot"][places]
        found[:, 1] = bars["start"][places]
        is_closed = bars["state"][places] >= BarState.FINAL
        found[:, 3] = np.where(is_closed, bars["revision"][places], -1)
        return PublishedBars(found, out.data[:size].tobytes(), out.ends[:count].copy())

    def _texts(self) -> encode.Texts:
        symbols = self._table.symbols
        return encode.Texts(symbols.names, symbols.lengths, *self._names, *_PHASES)
