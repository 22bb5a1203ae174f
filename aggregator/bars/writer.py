"""Write states of bars as the encoded records of an ``UpdateBatch``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aggregator.bars.bar_table import BarTable
from aggregator.bars.kernel import encode, published
from aggregator.bars.kernel.records import BAR, PHASES
from aggregator.bars.published import SLACK_BYTES, PublishedBars
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
        found = np.empty((count, 4), np.int64)
        published.name_bars(places, bars, self._step, found)
        data = np.empty(size + SLACK_BYTES, np.uint8)
        data[:size] = out.data[:size]
        return PublishedBars(found, data, out.ends[:count].copy())

    def _texts(self) -> encode.Texts:
        symbols = self._table.symbols
        return encode.Texts(symbols.names, symbols.lengths, *self._names, *_PHASES)
