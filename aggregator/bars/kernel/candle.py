"""How a candle takes trades in: the one rule, for compiled loops and for Python.

A candle is anything with the numbers that ``CANDLE_FIELDS`` names: a record of the loops, or a
:class:`aggregator.bars.candle.Candle`. Without trades their number and the volume are 0, and the
other numbers mean nothing but the decimals of the volume.

A trade may leave some numbers as they are, see :data:`EXCLUDE_OPEN` and the others. A price that no
trade gave is NaN, and the time of such an open or close is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nan
from typing import Any, cast

from marketdata.fields import CANDLE_FIELDS
from marketdata.kernels import cgutils, inlined, intrinsic, overload, types
from marketdata.sums import add_neumaier
from marketdata.wire.market_data_pb2 import Exclude

MAX_INT64 = 2**63 - 1
EXCLUDE_OPEN = int(Exclude.EXCLUDE_OPEN)
EXCLUDE_HIGH_LOW = int(Exclude.EXCLUDE_HIGH_LOW)
EXCLUDE_LAST = int(Exclude.EXCLUDE_LAST)
EXCLUDE_VOLUME = int(Exclude.EXCLUDE_VOLUME)
# How far rounding may carry a mean out of the range of its prices.
_ROUNDING = 1e-12
NUMBERS = tuple(field.name for field in CANDLE_FIELDS)


class CandleNumbers:
    """The numbers of ``CANDLE_FIELDS``, with their types for the type checker."""

    __slots__ = NUMBERS

    open: float
    high: float
    low: float
    close: float
    volume: int
    volume_decimals: int
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
    return candle.trades | candle.volume == 0


@inlined
def clear(candle: CandleNumbers) -> None:
    """Let a candle have no trades."""
    candle.trades = candle.volume = 0


@inlined
def has_prices(candle: CandleNumbers) -> bool:
    """Return whether all prices of a candle with trades are known."""
    known = candle.first_ts != 0 and candle.last_ts != 0
    return known and candle.high == candle.high


@inlined
def empty(candle: CandleNumbers) -> None:
    """Let a candle have no trades, no prices and no volume."""
    candle.open = candle.high = candle.low = candle.close = nan
    candle.first_ts = candle.last_ts = 0
    candle.first_sequence = candle.last_sequence = 0
    candle.notional = candle.notional_error = 0.0
    candle.volume = 0
    candle.trades = 0


@inlined
def _add_volume(candle: CandleNumbers, price: float, volume: int) -> None:
    candle.notional, candle.notional_error = add_neumaier(
        candle.notional, candle.notional_error, price * volume
    )
    candle.volume += volume


@inlined
def add(candle: CandleNumbers, price: float, volume: int, ts: int, sequence: int) -> None:
    """Take a trade in that moves every number; all prices are known, if the candle is not empty.

    The caller made sure that the totals do not overflow.
    """
    if is_empty(candle):
        empty(candle)
        candle.open = candle.high = candle.low = candle.close = price
        candle.first_ts = candle.last_ts = ts
        candle.first_sequence = candle.last_sequence = sequence
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
    _add_volume(candle, price, volume)
    candle.trades += 1


@inlined
def take(
    candle: CandleNumbers, price: float, volume: int, ts: int, sequence: int, excludes: int
) -> None:
    """Take any trade in; ``excludes`` says which numbers it does not move."""
    if is_empty(candle):
        empty(candle)
    if not excludes & EXCLUDE_HIGH_LOW:
        # A comparison with NaN is false.
        if not price <= candle.high:
            candle.high = price
        if not price >= candle.low:
            candle.low = price
    if not excludes & EXCLUDE_LAST and (
        ts > candle.last_ts or (ts == candle.last_ts and sequence >= candle.last_sequence)
    ):
        candle.close = price
        candle.last_ts = ts
        candle.last_sequence = sequence
    if not excludes & EXCLUDE_OPEN and (
        candle.first_ts == 0
        or ts < candle.first_ts
        or (ts == candle.first_ts and sequence < candle.first_sequence)
    ):
        candle.open = price
        candle.first_ts = ts
        candle.first_sequence = sequence
    if not excludes & EXCLUDE_VOLUME:
        _add_volume(candle, price, volume)
    candle.trades += 1


@inlined
def merge(candle: CandleNumbers, other: CandleNumbers) -> None:
    """Take the trades of ``other`` in, which has some; none of them was taken in before."""
    if is_empty(candle):
        copy(candle, other)
        return
    candle.volume += other.volume
    candle.trades += other.trades
    # A comparison with NaN is false.
    if other.high > candle.high or candle.high != candle.high:
        candle.high = other.high
    if other.low < candle.low or candle.low != candle.low:
        candle.low = other.low
    if other.last_ts > candle.last_ts or (
        other.last_ts == candle.last_ts and other.last_sequence >= candle.last_sequence
    ):
        candle.close = other.close
        candle.last_ts = other.last_ts
        candle.last_sequence = other.last_sequence
    if other.first_ts != 0 and (
        candle.first_ts == 0
        or other.first_ts < candle.first_ts
        or (other.first_ts == candle.first_ts and other.first_sequence < candle.first_sequence)
    ):
        candle.open = other.open
        candle.first_ts = other.first_ts
        candle.first_sequence = other.first_sequence
    candle.notional, error = add_neumaier(candle.notional, 0.0, other.notional)
    candle.notional_error += other.notional_error + error


@inlined
def vwap_of(notional: float, notional_error: float, volume: int, low: float, high: float) -> float:
    """Return the sum of price x volume divided by the volume; NaN without a volume."""
    if volume == 0:
        return nan
    mean = (notional + notional_error) / volume
    # Rounding must not carry the mean out of its range. Trades that move neither high nor low may.
    if mean < low and low - mean <= _ROUNDING * abs(mean):
        return low
    if mean > high and mean - high <= _ROUNDING * abs(mean):
        return high
    return mean


@inlined
def vwap(candle: CandleNumbers) -> float:
    """Return the mean price of a candle, weighted by volume; NaN without a volume."""
    return vwap_of(candle.notional, candle.notional_error, candle.volume, candle.low, candle.high)


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
