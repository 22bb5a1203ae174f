"""Ask for memory ahead: it is slower than what is done with it."""

from __future__ import annotations

from typing import NamedTuple

from aggregator.bars.kernel.records import BAR, BASE, INT, SLOT, SYMBOL, Tables, offset_of
from marketdata.kernels import fused_part, kernel_part
from marketdata.words import load_word, prefetch

# How many ticks ahead memory is asked for.
FAR, NEAR, NEXT = 12, 5, 2
_LINE = 64
_BASE_BYTES, _SYMBOL_BYTES = BASE.itemsize, SYMBOL.itemsize
_SLOT_BYTES, _BAR_BYTES = SLOT.itemsize, BAR.itemsize
_HIGH_TIME = offset_of(BASE, "high_time")
_EARLY_FIRST = offset_of(SLOT, "early_first")


class Addresses(NamedTuple):
    """Where the tables are; no arrays, whose references would be counted with every call."""

    bases: int
    symbols: int
    slots: int
    slots_of_row: int
    bars: int


@kernel_part
def addresses_of(t: Tables) -> Addresses:
    """Return where the tables are."""
    return Addresses(
        INT(t.bases.ctypes.data),
        INT(t.symbols.ctypes.data),
        INT(t.slots.ctypes.data),
        t.slots.shape[1],
        INT(t.bars.ctypes.data),
    )


@fused_part
def _prefetch(at: int, size: int) -> None:
    for offset in range(0, size, _LINE):
        prefetch(at + offset)


@fused_part
def prefetch_base(tables: Addresses, row: int) -> None:
    """Ask for the base candle of a symbol."""
    if row >= 0:
        _prefetch(tables.bases + row * _BASE_BYTES, _BASE_BYTES)


@fused_part
def ends_base(tables: Addresses, row: int, ts: int) -> bool:
    """Return whether a trade is more than an addition to the base candle, by its time."""
    return row >= 0 and ts >= load_word(tables.bases + row * _BASE_BYTES + _HIGH_TIME)


@fused_part
def prefetch_rest(tables: Addresses, row: int) -> None:
    """Ask for the rest of a symbol."""
    _prefetch(tables.symbols + row * _SYMBOL_BYTES, _SYMBOL_BYTES)
    size = tables.slots_of_row * _SLOT_BYTES
    _prefetch(tables.slots + row * size, size)


@fused_part
def prefetch_early(tables: Addresses, row: int) -> None:
    """Ask for the first early bar of the shortest interval, which may become final."""
    if tables.slots_of_row > 0:
        slot = tables.slots + row * tables.slots_of_row * _SLOT_BYTES
        place = load_word(slot + _EARLY_FIRST)
        if place >= 0:
            _prefetch(tables.bars + place * _BAR_BYTES, _BAR_BYTES)
