"""The columns of a batch, as the compiled loops take them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marketdata.kernels import types

# In place of a row: the sender refused the tick, and only its sequence is left.
EMPTY = -2


class Ticks(NamedTuple):
    """The ticks of a batch, a column for each field.

    Attributes:
        rows: the row of the symbol, -1: the symbol has none yet, EMPTY: there is no tick.
        prices: as doubles.
        volumes: as int64.
        times: the exchange times.
    """

    rows: NDArray[np.int32]
    prices: NDArray[np.float64]
    volumes: NDArray[np.int64]
    times: NDArray[np.int64]


def make_ticks(size: int) -> Ticks:
    """Return columns with room for ``size`` ticks."""
    return Ticks(
        rows=np.zeros(size, np.int32),
        prices=np.zeros(size, np.float64),
        volumes=np.zeros(size, np.int64),
        times=np.zeros(size, np.int64),
    )


# numba's types are untyped.
_types: Any = types
# The type of Ticks in the signature of a compiled loop.
TICKS: Any = _types.NamedTuple(
    (_types.int32[::1], _types.float64[::1], _types.int64[::1], _types.int64[::1]), Ticks
)
