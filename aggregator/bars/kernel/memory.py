"""The remembered trades: those with an id, the newest so many of them.

They are found by symbol and id. When there is no place left, the trade that came first is
forgotten.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aggregator.bars.kernel.records import INT, INTS, VOID, Symbol, Trade
from aggregator.wire.ticks import EXCLUDES, EXCLUDES_SHIFT
from marketdata.kernels import KERNELS, fused_part, kernel_part, types

# A bit of a mark: the trade was cancelled.
CANCELLED = 1 << 15
# Another one: some bar of its time did not take it.
LEFT_OUT_BY_BARS = 1 << 16
_MIX_0 = -7046029254386353131
_MIX_1 = -4417276706812531889


class Memory(NamedTuple):
    """The remembered trades, a column for each number.

    Attributes:
        taken: two numbers: how many trades were remembered so far, and the number of the first that
            was not forgotten. Trades are numbered 0, 1, 2, ...; the place of one is its number
            modulo the length of the columns.
        slots: the place of a trade plus 1, by the hash of its symbol and id; 0: free. A power of
            two, half of them free.
        ids: the trade ids, packed by :mod:`aggregator.wire.trade_id`.
        rows: the symbols.
        prices: as doubles.
        volumes: at the scale of :attr:`marks`.
        times: exchange times.
        sequences: which decide between trades of the same time.
        marks: of :class:`aggregator.wire.ticks.Ticks`, and the bits above.
        previous: the number of the trade of the same symbol before, -1: there is none.
    """

    taken: NDArray[np.int64]
    slots: NDArray[np.int32]
    ids: NDArray[np.int64]
    rows: NDArray[np.int32]
    prices: NDArray[np.float64]
    volumes: NDArray[np.int64]
    times: NDArray[np.int64]
    sequences: NDArray[np.int64]
    marks: NDArray[np.int32]
    previous: NDArray[np.int64]


# numba's types are untyped.
_types: Any = types
MEMORY: Any = _types.NamedTuple(
    (
        *(INTS, _types.int32[::1], INT[:, ::1], _types.int32[::1], _types.float64[::1]),
        *(INTS, INTS, INTS, _types.int32[::1], INTS),
    ),
    Memory,
)


@fused_part
def _slot_of(memory: Memory, row: int, id0: int, id1: int) -> int:
    mixed = (id0 ^ id1 * _MIX_1 ^ row * _MIX_0) * _MIX_0
    slot: int = ((mixed >> 32) ^ mixed) & (memory.slots.shape[0] - 1)
    return slot


@fused_part
def find_trade(memory: Memory, row: int, id0: int, id1: int) -> int:
    """Return the place of a remembered trade, or -1."""
    mask = memory.slots.shape[0] - 1
    slot = _slot_of(memory, row, id0, id1)
    while True:
        place: int = INT(memory.slots[slot]) - 1
        if place < 0 or (
            memory.ids[place, 0] == id0
            and memory.ids[place, 1] == id1
            and memory.rows[place] == row
        ):
            return place
        slot = (slot + 1) & mask


@kernel_part
def _put_in_slot(memory: Memory, place: int) -> None:
    mask = memory.slots.shape[0] - 1
    slot = _slot_of(memory, memory.rows[place], memory.ids[place, 0], memory.ids[place, 1])
    while memory.slots[slot]:
        slot = (slot + 1) & mask
    memory.slots[slot] = place + 1


@kernel_part
def _take_from_slot(memory: Memory, place: int) -> None:
    mask = memory.slots.shape[0] - 1
    slot = _slot_of(memory, memory.rows[place], memory.ids[place, 0], memory.ids[place, 1])
    while memory.slots[slot] != place + 1:
        slot = (slot + 1) & mask
    # Those after it move up, as far as their search begins before the free slot.
    free = slot
    while True:
        slot = (slot + 1) & mask
        other: int = INT(memory.slots[slot]) - 1
        if other < 0:
            break
        begin = _slot_of(memory, memory.rows[other], memory.ids[other, 0], memory.ids[other, 1])
        if (slot - begin) & mask >= (slot - free) & mask:
            memory.slots[free] = other + 1
            free = slot
    memory.slots[free] = 0


@fused_part
def remember(
    memory: Memory, symbol: Symbol, row: int, words: tuple[int, int], trade: Trade, mark: int
) -> None:
    """Remember a trade that is not remembered yet, with the words of its id and its mark."""
    capacity = memory.rows.shape[0]
    number: int = memory.taken[0]
    place = number % capacity
    if number - memory.taken[1] >= capacity:
        _take_from_slot(memory, place)
        memory.taken[1] += 1
    memory.taken[0] = number + 1
    memory.previous[place] = symbol.remembered
    symbol.remembered = number
    id0, id1 = words
    memory.ids[place, 0] = id0
    memory.ids[place, 1] = id1
    memory.rows[place] = row
    memory.prices[place] = trade.price
    memory.volumes[place] = trade.volume
    memory.times[place] = trade.ts
    memory.sequences[place] = trade.sequence
    memory.marks[place] = mark
    _put_in_slot(memory, place)


@KERNELS.add(INT(MEMORY, INT, INT, INT))
def find_remembered(memory: Memory, row: int, id0: int, id1: int) -> int:
    """Return the place of a remembered trade of a symbol, or -1."""
    return find_trade(memory, row, id0, id1)


@KERNELS.add(VOID(MEMORY))
def index_trades(memory: Memory) -> None:
    """Let all trades be found; no slot is taken yet."""
    for number in range(memory.taken[1], memory.taken[0]):
        _put_in_slot(memory, number % memory.rows.shape[0])


@fused_part
def excludes_of(memory: Memory, place: int) -> int:
    """Return the numbers that a remembered trade does not move."""
    excludes: int = (memory.marks[place] >> EXCLUDES_SHIFT) & EXCLUDES
    return excludes
