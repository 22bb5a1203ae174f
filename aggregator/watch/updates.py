"""What streams are sent after an input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aggregator.bars.published import PublishedBars
from aggregator.watch.bar_queue import Completed


class Changed(NamedTuple):
    """Rows with a new state."""

    rows: Sequence[int]
    # Each as one of the ``updates`` of an ``UpdateBatch``. None: nobody could take them, so that
    # the newest state counts.
    states: list[bytes] | None


class Partials(NamedTuple):
    """Series with a new state of their open bar; the newest one counts."""

    series: NDArray[np.int64]


class Closed(NamedTuple):
    """Early, final and revised bars."""

    bars: PublishedBars


Update = Changed | Partials | Closed | Completed
