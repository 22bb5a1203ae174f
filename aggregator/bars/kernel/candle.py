"""How a candle takes trades in: the one rule, for compiled loops and for Python.

A candle is anything with the numbers that ``CANDLE_FIELDS`` names: a record of the loops, or a
:class:`aggregator.bars.candle.Candle`. Without trades its volume is 0, and the other numbers mean
nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, cast

from marketdata.fields import CANDLE_FIELDS
from marketdata.kernels import cgutils, inlined, intrinsic, overload, types
from marketdata.sums import add_neumaier

MAX_INT64 = 2**63 - 1
NUMBERS = tuple(field.name for field in CANDLE_FIELDS)


class CandleNumbers:
    """The numbers of ``CANDLE_FIELDS``, with their types for the type checker."""

    __slots__ = NUMBERS

    open: float
    high: float
    low: float
    close: float
    volume: int
    trades: int
    notional: float
    notional_error: float
    first_ts: int
    first_sequence: int
    last_ts: int
    last_sequence: int


@inlined
def is_empty(candle: CandleNumbers) -> bool:
    """Return whether a candle has no trades."""
    return candle.volume == 0


@inlined
def clear(candle: CandleNumbers) -> None:
    """Let a candle have no trades."""
    candle.volume = 0


@inlined
def add(candle: CandleNumbers, price: float, volume: int, ts: int, sequence: int) -> None:
    """Take one trade in; the caller made sure that the totals do not overflow."""
    if is_empty(candle):
        candle.open = candle.high = candle.low = candle.close = price
        candle.first_ts = candle.last_ts = ts
        candle.first_sequence = candle.last_sequence = sequence
        candle.notional = candle.notional_error = 0.0
        candle.trades = 0
    else:
        candle.high = max(candle.high, price)
        candle.low = min(candle.low, price)
        if ts > candle.last_ts or (ts == candle.last_ts and sequence >= candle.last_sequence):
            candle.close = price
            candle.last_ts = ts
            candle.last_sequence = sequence
        elif ts <= candle.first_ts and (ts < candle.first_ts or sequence < candle.first_sequence):
            candle.open = price
            candle.first_ts = ts
            candle.first_sequence = sequence
    candle.notional, candle.notional_error = add_neumaier(
        candle.notional, candle.notional_error, price * volume
    )
    candle.volume += volume
    candle.trades += 1


@inlined
def merge(candle: CandleNumbers, other: CandleNumbers) -> None:
    """Take the trades of ``other`` in, which has some; none of them was taken in before."""
    if is_empty(candle):
        copy(candle, other)
        return
    candle.volume += other.volume
    candle.trades += other.trades
    candle.high = max(candle.high, other.high)
    candle.low = min(candle.low, other.low)
    if other.last_ts > candle.last_ts or (
        other.last_ts == candle.last_ts and other.last_sequence >= candle.last_sequence
    ):
        candle.close = other.close
        candle.last_ts = other.last_ts
        candle.last_sequence = other.last_sequence
    if other.first_ts < candle.first_ts or (
        other.first_ts == candle.first_ts and other.first_sequence < candle.first_sequence
    ):
        candle.open = other.open
        candle.first_ts = other.first_ts
        candle.first_sequence = other.first_sequence
    candle.notional, error = add_neumaier(candle.notional, 0.0, other.notional)
    candle.notional_error += other.notional_error + error


@inlined
def vwap(candle: CandleNumbers) -> float:
    """Return the sum of price x volume divided by the volume."""
    mean = (candle.notional + candle.notional_error) / candle.volume
    # Rounding must not carry the mean out of its range.
    return min(max(mean, candle.low), candle.high)


@inlined
def has_room(candle: CandleNumbers, volume: int, money: float) -> bool:
    """Return whether a candle can take so much more volume and money."""
    if is_empty(candle):
        return money < inf
    return volume <= MAX_INT64 - candle.volume and candle.notional + money < inf


def copy(candle: Any, other: Any) -> None:
    """Overwrite all numbers of a candle with those of another one."""
    for name in NUMBERS:
        setattr(candle, name, getattr(other, name))


def _copy_record(_context: Any, target: Any, source: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        size = context.get_constant(types.int64, signature.args[0].size)
        memcpy: Any = cgutils.raw_memcpy
        memcpy(builder, *arguments, size, 1)
        return context.get_dummy_value()

    return types.void(target, source), generate


copy_record = cast(Callable[[Any, Any], None], intrinsic(_copy_record))


def _copy_candle(candle: Any, other: Any) -> Any:
    # Both are records of the same fields.
    def copied(candle: Any, other: Any) -> None:
        copy_record(candle, other)

    return copied


# So do the loops.
overload(copy)(_copy_candle)
