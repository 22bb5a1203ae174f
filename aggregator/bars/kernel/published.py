"""Tell the states of bars apart that are published together."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.bars.kernel.records import BARS, FINAL, INT, INTS, PooledBar
from marketdata.kernels import KERNELS, types

_types: Any = types


@KERNELS.add(_types.void(INTS, BARS, INT, INT[:, ::1]))
def name_bars(
    places: NDArray[np.int64], bars: NDArray[Any], step: int, found: NDArray[np.int64]
) -> None:
    """Write series, start, number and revision of bars of the pool; of an early one it is -1.

    Args:
        places: of the bars.
        bars: of the tables.
        step: how many series a symbol has.
        found: takes them.
    """
    for index in range(places.shape[0]):
        bar: PooledBar = bars[places[index]]
        found[index, 0] = bar.row * step + bar.slot
        found[index, 1] = bar.start
        found[index, 2] = 0
        found[index, 3] = bar.revision if bar.state >= FINAL else -1
