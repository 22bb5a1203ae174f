"""The columns of a batch, as the compiled loops take them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marketdata.kernels import types

# In place of a row: the sender refused the tick, and only its sequence is left; or its trade came
# before, or it cancels or corrects one.
EMPTY, DUPLICATE, AMENDS = -2, -3, -4

# A mark has the decimals of the volume, then bits: Tick.excludes, Tick.action, and whether there is
# a trade id. It is 0 for a tick with none of these.
DECIMALS = 0xFF
EXCLUDES_SHIFT, EXCLUDES = 8, 0xF
ACTION_SHIFT, ACTION = 12, 0x3
HAS_ID = 1 << 14


class Ticks(NamedTuple):
    """The ticks of a batch, a column for each field.

    Attributes:
        rows: the row of the symbol, -1: the symbol has none yet, EMPTY: there is no tick.
        prices: as doubles.
        volumes: as int64.
        times: the exchange times.
        marks: what else the tick has, see :data:`DECIMALS`.
        ids: the trade ids, packed by :mod:`aggregator.wire.trade_id`; they mean nothing without
            HAS_ID.
    """

    rows: NDArray[np.int32]
    prices: NDArray[np.float64]
    volumes: NDArray[np.int64]
    times: NDArray[np.int64]
    marks: NDArray[np.int32]
    ids: NDArray[np.int64]


def make_ticks(size: int) -> Ticks:
    """Return columns with room for ``size`` ticks."""
    return Ticks(
        rows=np.zeros(size, np.int32),
        prices=np.zeros(size, np.float64),
        volumes=np.zeros(size, np.int64),
        times=np.zeros(size, np.int64),
        marks=np.zeros(size, np.int32),
        ids=np.zeros((size, 2), np.int64),
    )


# numba's types are untyped.
_types: Any = types
# The type of Ticks in the signature of a compiled loop.
TICKS: Any = _types.NamedTuple(
    (
        *(_types.int32[::1], _types.float64[::1], _types.int64[::1], _types.int64[::1]),
        *(_types.int32[::1], _types.int64[:, ::1]),
    ),
    Ticks,
)
