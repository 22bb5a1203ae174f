"""The scale of a symbol: its volumes are integers that count 10^-decimals, at the finest it needed.

All candles of a symbol have its scale, also those without trades.
"""

from __future__ import annotations

from aggregator.bars.kernel.candle import MAX_INT64, CandleNumbers, is_empty
from aggregator.bars.kernel.codes import DONE, OVERFLOW
from aggregator.bars.kernel.gather import add_gathered
from aggregator.bars.kernel.limits import measure_room, set_limits
from aggregator.bars.kernel.records import (
    INT,
    TABLES,
    Base,
    PooledBar,
    Slot,
    Symbol,
    Tables,
)
from marketdata.kernels import KERNELS, fused_part, kernel_part

POWERS = tuple(10**power for power in range(19))


@fused_part
def to_scale(volume: int, decimals: int, scale: int) -> int:
    """Return a volume with these decimals at another scale; -1: it does not fit an int64 there."""
    while decimals > scale and volume % 10 == 0:
        volume //= 10
        decimals -= 1
    if decimals > scale or volume > MAX_INT64 // POWERS[scale - decimals]:
        return -1
    scaled: int = volume * POWERS[scale - decimals]
    return scaled


@kernel_part
def _fits(candle: CandleNumbers, other: int, factor: int) -> bool:
    most = MAX_INT64 // factor
    return is_empty(candle) or candle.volume <= most - min(other, most)


@kernel_part
def _scale(candle: CandleNumbers, decimals: int, factor: int) -> None:
    candle.volume_decimals = decimals
    if not is_empty(candle):
        candle.volume *= factor
        candle.notional *= factor
        candle.notional_error *= factor


@fused_part
def _all_fit(t: Tables, row: int, factor: int) -> bool:
    """Return whether no total of a symbol passes an int64 when it is multiplied."""
    base: Base = t.bases[row]
    other: int = 0 if is_empty(base.candle) else base.candle.volume
    # The base candle is added to the others at last.
    if other > MAX_INT64 // factor or not _fits(t.symbols[row].session, other, factor):
        return False
    for index in range(t.state[0].slots):
        slot: Slot = t.slots[row, index]
        if not _fits(slot.candle, other, factor):
            return False
        for first in (slot.closed_first, slot.early_first):
            place: int = first
            while place >= 0:
                if not _fits(t.bars[place].candle, 0, factor):
                    return False
                place = t.bars[place].next
    return True


@KERNELS.add(INT(TABLES, INT, INT))
def refine(t: Tables, row: int, decimals: int) -> int:
    """Give a symbol a finer scale; return DONE, or OVERFLOW if a total would pass an int64.

    Args:
        t: the tables.
        row: the symbol.
        decimals: more than those of the symbol.
    """
    symbol: Symbol = t.symbols[row]
    if symbol.gathered_to:
        add_gathered(t, row)
    factor: int = POWERS[decimals - symbol.session.volume_decimals]
    if not _all_fit(t, row, factor):
        return OVERFLOW
    _scale(t.bases[row].candle, decimals, factor)
    _scale(symbol.session, decimals, factor)
    symbol.gathered.volume_decimals = decimals
    for index in range(t.state[0].slots):
        slot: Slot = t.slots[row, index]
        _scale(slot.candle, decimals, factor)
        for first in (slot.closed_first, slot.early_first):
            place: int = first
            while place >= 0:
                bar: PooledBar = t.bars[place]
                _scale(bar.candle, decimals, factor)
                place = bar.next
    measure_room(t, row)
    set_limits(t, row)
    return DONE
