"""Ask for memory ahead: it is slower than what is done with it."""

from __future__ import annotations

from typing import NamedTuple

from aggregator.bars.kernel.pool import head_of
from aggregator.bars.kernel.records import BAR, BASE, INT, SLOT, SYMBOL, Tables, offset_of
from aggregator.wire.ticks import Ticks
from marketdata.kernels import fused_part, kernel_part
from marketdata.words import load_word, prefetch

# How many ticks ahead memory is asked for.
FAR, NEAR, NEXT = 12, 5, 2
_LINE = 64
_BASE_BYTES, _SYMBOL_BYTES = BASE.itemsize, SYMBOL.itemsize
_SLOT_BYTES, _BAR_BYTES = SLOT.itemsize, BAR.itemsize
_LOW_TIME = offset_of(BASE, "low_time")
_HIGH_TIME = offset_of(BASE, "high_time")
_EARLY_FIRST = offset_of(SLOT, "early_first")


class Addresses(NamedTuple):
    """Where the tables are; no arrays, whose references would be counted with every call."""

    bases: int
    symbols: int
    slots: int
    slots_of_row: int
    bars: int
    heads: int
    count_of_heads: int
    # Of the shortest interval, as far as the loops know it.
    size: int
    anchor: int


@kernel_part
def addresses_of(t: Tables) -> Addresses:
    """Return where the tables are."""
    size, anchor = 0, 0
    if t.slots.shape[1] > 0:
        # Sessions move the bars of some symbols; those are not asked for in time.
        size, anchor = t.slots[0, 0].size, t.slots[0, 0].anchor
    return Addresses(
        INT(t.bases.ctypes.data),
        INT(t.symbols.ctypes.data),
        INT(t.slots.ctypes.data),
        t.slots.shape[1],
        INT(t.bars.ctypes.data),
        INT(t.heads.ctypes.data),
        t.heads.shape[0],
        size,
        anchor,
    )


@fused_part
def _prefetch(at: int, size: int) -> None:
    for offset in range(0, size, _LINE):
        prefetch(at + offset)
    # Records begin anywhere in a line, so they may end in one more.
    prefetch(at + size - 1)


@fused_part
def prefetch_base(tables: Addresses, row: int) -> None:
    """Ask for the base candle of a symbol."""
    if row >= 0:
        _prefetch(tables.bases + row * _BASE_BYTES, _BASE_BYTES)


@fused_part
def _ends_base(tables: Addresses, row: int, ts: int) -> bool:
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


@fused_part
def _is_late(tables: Addresses, row: int, ts: int) -> bool:
    """Return whether a trade is a late one that closed bars may take."""
    return (
        row >= 0
        and tables.size > 0
        and ts < load_word(tables.bases + row * _BASE_BYTES + _LOW_TIME)
    )


@fused_part
def _head(tables: Addresses, row: int, ts: int) -> int:
    """Return the address of the head of the closed bar of the shortest interval."""
    start = ts - (ts - tables.anchor) % tables.size
    return tables.heads + 8 * head_of(tables.count_of_heads, row, 0, start)


@fused_part
def _prefetch_late(tables: Addresses, row: int, ts: int) -> None:
    """Ask for what a late trade needs of its symbol, and for the way to its closed bar."""
    _prefetch(tables.symbols + row * _SYMBOL_BYTES, _SYMBOL_BYTES)
    _prefetch(tables.slots + row * tables.slots_of_row * _SLOT_BYTES, _SLOT_BYTES)
    prefetch(_head(tables, row, ts))


@fused_part
def _prefetch_closed(tables: Addresses, row: int, ts: int) -> None:
    """Ask for the closed bar of a late trade."""
    place = load_word(_head(tables, row, ts))
    if place >= 0:
        _prefetch(tables.bars + place * _BAR_BYTES, _BAR_BYTES)


@fused_part
def look_ahead(tables: Addresses, ticks: Ticks, index: int) -> None:
    """Ask for what the ticks after this one need."""
    prefetch_base(tables, ticks.rows[index + FAR])
    row: int = ticks.rows[index + NEAR]
    ts: int = ticks.times[index + NEAR]
    if _ends_base(tables, row, ts):
        prefetch_rest(tables, row)
    elif _is_late(tables, row, ts):
        _prefetch_late(tables, row, ts)
    row, ts = ticks.rows[index + NEXT], ticks.times[index + NEXT]
    if _ends_base(tables, row, ts):
        prefetch_early(tables, row)
    elif _is_late(tables, row, ts):
        _prefetch_closed(tables, row, ts)
