"""Write states of bars as pieces of an ``UpdateBatch``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aggregator.bars import layout
from aggregator.bars.audience import Published
from aggregator.bars.bar import Bar, BarState
from aggregator.bars.sheet import Sheet
from aggregator.wire import encode as encoder
from aggregator.wire.pieces import PieceRoom, pack_names
from marketdata.wire.market_data_pb2 import UpdateBatch

_PHASES = pack_names(layout.PHASES, encoder.PHASE_WIDTH)


class BarWriter:
    """Write bars of a sheet, and others.

    Args:
        sheet: it has most of them.
        intervals: how many there are, also of bars that are not in the sheet.
    """

    def __init__(self, sheet: Sheet, intervals: int) -> None:
        self._sheet = sheet
        self._intervals = intervals
        # Goes out with each bar.
        self.epoch = 0
        self._names = pack_names(sheet.names, encoder.INTERVAL_WIDTH)
        self._room = PieceRoom(encoder.MAX_BAR_BYTES)

    def write(self, bar: Bar) -> bytes:
        """Return a bar that is not in the sheet."""
        return UpdateBatch(bars=[bar.to_message(self.epoch)]).SerializeToString()

    def write_open(self, series: NDArray[np.int64]) -> list[bytes]:
        """Return the newest states of open bars; empty where there is none, or none was counted."""
        count, sheet = len(series), self._sheet
        if not count:
            return []
        rows, lanes, coverages = sheet.find_open(series, self._intervals)
        tables = sheet.tables
        room = self._room
        room.reserve(count)
        encoder.encode_open_bars(
            rows,
            lanes,
            count,
            coverages,
            tables.hot_ints,
            tables.hot_reals,
            tables.ints,
            tables.reals,
            sheet.table.names,
            sheet.table.lengths,
            *self._names,
            *_PHASES,
            self.epoch,
            room.out,
            room.ends,
        )
        return room.cut(count)

    def write_places(self, places: NDArray[np.int32]) -> list[Published]:
        """Return the states of bars in the pool, which are filled in."""
        count, sheet, room = len(places), self._sheet, self._room
        if not count:
            return []
        bars_ints = sheet.tables.bars_ints
        room.reserve(count)
        encoder.encode_bars(
            places,
            count,
            bars_ints,
            sheet.tables.bars_reals,
            sheet.table.names,
            sheet.table.lengths,
            *self._names,
            *_PHASES,
            self.epoch,
            room.out,
            room.ends,
        )
        columns = bars_ints[places]
        series = columns[:, layout.BAR_ROW] * self._intervals + columns[:, layout.BAR_LANE]
        is_closed = columns[:, layout.STATE] >= BarState.FINAL
        revisions = np.where(is_closed, columns[:, layout.REVISION], -1)
        starts = columns[:, layout.BAR_START]
        return [
            Published(each, start, 0, revision, piece)
            for each, start, revision, piece in zip(
                series.tolist(), starts.tolist(), revisions.tolist(), room.cut(count), strict=True
            )
        ]
