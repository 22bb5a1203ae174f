"""Bars that are Python objects as an array, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.bars.bar import Bar, BarState, Coverage
from aggregator.bars.candle import Candle
from aggregator.bars.kernel.records import CANDLE, PHASES

# Without the symbol and the interval, which many of them share.
_NUMBERS = ("start", "end", "number", "state", "revision", "coverage", "refused", "sequence")
SAVED_BAR = np.dtype(
    [("candle", CANDLE), ("phase", np.int64), *((name, np.int64) for name in _NUMBERS)], align=True
)
_PHASE_NUMBERS = {phase: number for number, phase in enumerate(PHASES)}
_STATES = {state.value: state for state in BarState}
_COVERAGES = {coverage.value: coverage for coverage in Coverage}


def pack_bars(bars: Iterable[Bar]) -> NDArray[Any]:
    """Return bars as an array of SAVED_BAR."""
    rows = [
        (
            bar.candle.values(),
            _PHASE_NUMBERS[bar.phase],
            *(bar.start, bar.end, bar.number, bar.state, bar.revision, bar.coverage, bar.refused),
            bar.sequence,
        )
        for bar in bars
    ]
    return np.array(rows, SAVED_BAR)


def unpack_bars(saved: NDArray[Any], symbol: str, interval: str) -> list[Bar]:
    """Return the bars of an array, which are all of one symbol and interval."""
    return [
        Bar(
            symbol,
            interval,
            start,
            end,
            Candle(candle),
            number,
            _STATES[state],
            revision,
            _COVERAGES[coverage],
            refused,
            PHASES[phase],
            sequence,
        )
        for (
            candle,
            phase,
            start,
            end,
            number,
            state,
            revision,
            coverage,
            refused,
            sequence,
        ) in saved.tolist()
    ]
