"""The hot loop of ingest: frames in, encoded records of a ``TickBatch`` out.

It stops at the first unusual tick: fields that are missing, unknown, repeated or in another order,
tags and lengths of more bytes than they need, symbols, prices and volumes that are not valid, and
cancels and corrections. :class:`ingest.ticks.TickReader` reads those with the protobuf library.

A record has the symbol, the price, the volume and the exchange time; then the decimals, the trade
id and the excludes, those of them that came, in this order; and the ingest time last. After its
head a record has at most 127 bytes: a longer tick, which has a trade id, is also left to the
protobuf library.

Measured on one core at 2.1 GHz: 11 to 16 ns per tick, 3 more with decimals, 5 more with an id too,
and 0.6 us for a call.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marketdata.kernels import KERNELS, inlined_part, kernel_part
from marketdata.symbols import BLANKS, MAX_SYMBOL_LENGTH, is_allowed
from marketdata.timestamps import AUTO_MS_FROM, AUTO_NS_FROM, AUTO_S_FROM, AUTO_US_FROM
from marketdata.validation import (
    ALL_EXCLUDES,
    LEAST_SENTINEL,
    MAX_TRADE_ID,
    MAX_VOLUME_DECIMALS,
    PRICE_SENTINELS,
)
from marketdata.words import (
    big_endian_half,
    copy_block,
    load_byte,
    load_double,
    load_word,
    store_byte,
    store_word,
    trailing_zeros,
)

# Why parse_frames stopped.
MORE = 0  # the next frame has not arrived, or not all of it
FULL = 1  # as many ticks as there was room for
UNUSUAL = 2  # the frame at the position is not for this loop
BAD_FRAME = 3  # its length is 0 or over the limit

# Rejected ticks by reason, then what is counted of exchange times: those that were converted to
# nanoseconds, and the numbers of a timestamps.UnitHistory.
COUNTS = np.dtype(
    [
        ("timestamp_not_positive", np.int64),
        ("timestamp_implausible", np.int64),
        ("timestamp_in_future", np.int64),
        ("conversions", np.int64),
        # Of the connection: the unit of its last exchange time, and how often the unit changed.
        ("unit_ns", np.int64),
        ("unit_changes", np.int64),
    ]
)

# The loop reads and writes at most so many bytes past the end of its buffers.
SLACK = 64
# The most it writes for a tick: two bytes of head, and what a length of one byte allows. Without
# additions it is 106: a symbol of 64 characters in 66, the price in 9, two numbers and the ingest
# time in 10, 10 and 11.
_MAX_SIZE = 0x7F
MAX_RECORD = 2 + _MAX_SIZE
# The longest payload with additions that surely fits. The exchange time gets at most 5 bytes more
# if seconds become nanoseconds, and the ingest time is added.
_MAX_EXTENDED = _MAX_SIZE - 5 - 11

SYMBOL_TAG = 1 << 3 | 2
_PRICE_TAG = 2 << 3 | 1
_VOLUME_TAG = 3 << 3
_EXCHANGE_TAG = 4 << 3
_INGEST_TAG = 5 << 3
_DECIMALS_TAG = 6 << 3
_ID_TAG = 7 << 3 | 2
_EXCLUDES_TAG = 8 << 3
RECORD_TAG = 3 << 3 | 2
# A symbol within a frame may have blanks around it.
MAX_RAW_SYMBOL = 96
_MAX_SYMBOL = MAX_SYMBOL_LENGTH
# The fewest bytes that follow a symbol: price, volume and exchange time.
MIN_NUMBERS = 9 + 2 + 2

_HIGH_BITS = -0x7F7F7F7F7F7F7F80  # 0x80 in each byte
_LOW_BITS = 0x7F7F7F7F7F7F7F7F

# The byte that a symbol has for each byte that came, -1: a symbol cannot have it. The second table
# is for upper case.
_BYTES = np.full((2, 256), -1, np.int64)
for _byte in range(256):
    if is_allowed(chr(_byte)):
        _BYTES[:, _byte] = _byte, ord(chr(_byte).upper())
_BLANK = np.zeros(256, np.bool_)
for _byte in BLANKS.encode():
    _BLANK[_byte] = True
_SENTINELS = tuple(sorted(PRICE_SENTINELS))
_SPACE = ord(" ")
# 1 in each byte, and in each byte one that no symbol has though it is printable.
_ONES = 0x0101010101010101
_FORBIDDEN = tuple(_ONES * byte for byte in range(_SPACE, 0x7F) if _BYTES[0, byte] < 0)
# From this byte on, the backslash is the only printable one that no symbol has.
_PLAIN_FROM = ord("-")
_BACKSLASHES = _ONES * ord("\\")


class Rules(NamedTuple):
    """The rules for the frames of one read."""

    # Bytes in one frame.
    max_frame_size: int
    # Nanoseconds in one unit of the exchange times, 0: by magnitude.
    unit_ns: int
    # The latest exchange time that is not in the future.
    latest_ns: int
    # 1: symbols get upper case.
    upper: int
    # The serialized ingest time: how many bytes, the first eight, and the rest.
    stamp_size: int
    stamp: int
    stamp_rest: int
    # The largest price; its bytes stand in the array. There the largest volumes with 0, 1, ... 18
    # decimals follow.
    max_price: float


# Where the largest volumes by decimals begin in the array of Rules, and how long it is.
_MAX_VOLUMES = len(Rules._fields)
RULES_SIZE = _MAX_VOLUMES + MAX_VOLUME_DECIMALS + 1


class _Symbol(NamedTuple):
    # Without the blanks around it.
    at: int
    size: int
    # Whether it goes out as it came.
    is_normal: bool
    is_valid: bool


class _Additions(NamedTuple):
    # The decimals of the volume, and where it and the fields after it begin: none at the end of the
    # payload.
    decimals: int
    at: int
    is_usual: bool


class _Tick(NamedTuple):
    # Where the payload, its price and its exchange time begin, where that time ends, where the
    # additions begin, and where the payload ends.
    start: int
    price_at: int
    time_at: int
    end: int
    additions_at: int
    stop: int
    price: float
    volume: int
    decimals: int
    time: int
    is_usual: bool


class _Varint(NamedTuple):
    # Negative if there are more than nine bytes.
    value: int
    # The address after it.
    end: int


@kernel_part
def _squeeze(word: int) -> int:
    # The seven low bits of each of the eight bytes, side by side.
    word = (word & 0x007F007F007F007F) | ((word & 0x7F007F007F007F00) >> 1)
    word = (word & 0x00003FFF00003FFF) | ((word & 0x3FFF00003FFF0000) >> 2)
    return (word & 0x000000000FFFFFFF) | ((word & 0x0FFFFFFF00000000) >> 4)


@inlined_part
def _read_varint(at: int) -> _Varint:
    word = load_word(at)
    stops = ~word & _HIGH_BITS
    ninth = load_byte(at + 8) if stops == 0 else 0
    value = _squeeze(word & (stops ^ (stops - 1)) & _LOW_BITS) | ninth << 56
    return _Varint(value, at + 1 + (trailing_zeros(stops) >> 3))


@kernel_part
def _is_allowed(word: int) -> bool:
    # Whether a symbol may have these eight bytes. A byte that is wrong gets a high bit: below a
    # space, above a tilde, outside ASCII, or equal to one that is not allowed.
    wrong = (word - _ONES * _SPACE) | (word + _ONES) | word
    for pattern in _FORBIDDEN:
        wrong |= (word ^ pattern) - _ONES
    return wrong & _HIGH_BITS == 0


@kernel_part
def _is_upper(at: int, end: int) -> bool:
    for each in range(at, end):
        byte = load_byte(each)
        if _BYTES[1, byte] != byte:
            return False
    return True


@kernel_part
def _is_plain(word: int, size: int) -> bool:
    # Whether the first bytes of a word are among those of nearly all symbols. A byte that is not
    # gets a high bit, and can only make bytes after it wrong.
    wrong = (word - _ONES * _PLAIN_FROM) | (word + _ONES) | word | ((word ^ _BACKSLASHES) - _ONES)
    return (wrong << (8 - size << 3)) & _HIGH_BITS == 0


@kernel_part
def _has_allowed_words(at: int, size: int) -> bool:
    if load_byte(at) == _SPACE or load_byte(at + size - 1) == _SPACE:
        return False
    offset = 0
    while size - offset > 8:
        if not _is_allowed(load_word(at + offset)):
            return False
        offset += 8
    # What follows the symbol counts as spaces.
    others = -1 << (size - offset - 1 << 3) << 8
    return _is_allowed((load_word(at + offset) & ~others) | (_ONES * _SPACE & others))


@inlined_part
def _is_normal(at: int, size: int, upper: int) -> bool:
    is_plain = size <= 8 and _is_plain(load_word(at), size)
    if not is_plain and not _has_allowed_words(at, size):
        return False
    return upper == 0 or _is_upper(at, at + size)


@inlined_part
def read_symbol(start: int, raw_size: int, upper: int) -> _Symbol:
    """Return where the symbol of a tick is, and whether it is valid."""
    at, size = start + 2, raw_size
    is_normal = _is_normal(at, size, upper)
    is_valid = True
    if not is_normal:
        while size > 0 and _BLANK[load_byte(at)]:
            at += 1
            size -= 1
        while size > 0 and _BLANK[load_byte(at + size - 1)]:
            size -= 1
        for each in range(at, at + size):
            if _BYTES[upper, load_byte(each)] < 0:
                is_valid = False
    is_valid = is_valid and 0 < size <= _MAX_SYMBOL
    return _Symbol(at, size, is_normal, is_valid)


@kernel_part
def _after_ingest_time(at: int, stop: int) -> int:
    # Returns where a producer's own ingest time ends; 0: it is not written as usual.
    last = at + 1
    while last < stop and load_byte(last) > 0x7F:
        last += 1
    # Ten bytes are the most; the tenth would hold more than its bit.
    return last + 1 if last < stop and last - at <= 9 else 0


@kernel_part
def _read_additions(start: int, at: int, stop: int) -> _Additions:
    # Reads what follows the exchange time. An ingest time is left out of the record.
    if load_byte(at) == _INGEST_TAG:
        at = _after_ingest_time(at, stop)
        if at in (0, stop):
            return _Additions(0, stop, at == stop)
    begin = at
    decimals = excludes = length = 0
    if load_byte(at) == _DECIMALS_TAG:
        decimals = load_byte(at + 1)
        at += 2
    if at < stop and load_byte(at) == _ID_TAG:
        length = load_byte(at + 1)
        at += 2 + length
    if at < stop and load_byte(at) == _EXCLUDES_TAG:
        excludes = load_byte(at + 1)
        at += 2
    is_usual = (
        at == stop
        and decimals <= MAX_VOLUME_DECIMALS
        and length <= MAX_TRADE_ID
        and excludes <= ALL_EXCLUDES
        and stop - start <= _MAX_EXTENDED
    )
    return _Additions(decimals, begin, is_usual)


@inlined_part
def read_numbers(start: int, price_at: int, stop: int) -> _Tick:
    """Return what follows the symbol of a tick, and whether it is written as usual."""
    volume_at = price_at + 9
    volume = _read_varint(volume_at + 1)
    time_at = volume.end
    time = _read_varint(time_at + 1)
    is_usual = (
        load_byte(price_at) == _PRICE_TAG
        and load_byte(volume_at) == _VOLUME_TAG
        and load_byte(time_at) == _EXCHANGE_TAG
        and volume.value >= 0
        and time.value >= 0
    )
    decimals, additions_at = 0, stop
    if time.end != stop:
        # Also if it ends after the payload, which has another one's bytes then.
        additions = _read_additions(start, time.end, stop)
        is_usual = is_usual and time.end < stop and additions.is_usual
        decimals, additions_at = additions.decimals, additions.at
    price = load_double(price_at + 1)
    return _Tick(
        *(start, price_at, time_at, time.end, additions_at, stop),
        *(price, volume.value, decimals, time.value, is_usual),
    )


@kernel_part
def factor_of(time: int, unit_ns: int) -> int:
    """Return the nanoseconds in the unit of an exchange time, 0: it is in no unit."""
    if unit_ns != 0:
        return unit_ns
    if time >= AUTO_NS_FROM:
        return 1
    if time >= AUTO_US_FROM:
        return 1_000
    if time >= AUTO_MS_FROM:
        return 1_000_000
    return 1_000_000_000 if time >= AUTO_S_FROM else 0


@kernel_part
def latest_in(latest_ns: int, factor: int) -> int:
    """Return the latest exchange time that is not in the future, in a unit."""
    # A division by a constant is a multiplication.
    if factor == 1:
        return latest_ns
    if factor == 1_000:
        return latest_ns // 1_000
    if factor == 1_000_000:
        return latest_ns // 1_000_000
    return latest_ns // 1_000_000_000


@kernel_part
def _is_sentinel(price: float) -> bool:
    for each in _SENTINELS:  # noqa: SIM110  a loop compiles to comparisons
        if price == each:
            return True
    return False


@inlined_part
def is_usual_trade(tick: _Tick, max_volume: int, factor: int, latest: int, rules: Rules) -> bool:
    """Return whether price, volume and time are valid and usual. It costs one branch."""
    is_usual: bool = (
        (tick.price > 0.0)
        & (tick.price < min(rules.max_price, LEAST_SENTINEL))
        & (tick.volume > 0)
        & (tick.volume <= max_volume)
        & (tick.time > 0)
        & (tick.time <= latest)
        & (factor > 0)
    )
    return is_usual


@kernel_part
def _has_valid_values(tick: _Tick, max_volume: int, rules: Rules) -> bool:
    price = tick.price
    if not 0 < tick.volume <= max_volume or not 0.0 < price <= rules.max_price:
        return False
    return not _is_sentinel(price)


@kernel_part
def _has_valid_time(tick: _Tick, factor: int, latest: int, counts: Any) -> bool:
    # Counts a time that is not valid.
    if tick.time == 0:
        counts.timestamp_not_positive += 1
    elif factor == 0:
        counts.timestamp_implausible += 1
    elif tick.time > latest:
        counts.timestamp_in_future += 1
    else:
        return True
    return False


@kernel_part
def _copy(out: int, at: int, size: int) -> int:
    # Most have at most 32 bytes; there is slack for more than those.
    copy_block(out, at)
    copy_block(out + 16, at + 16)
    for offset in range(32, size, 16):
        copy_block(out + offset, at + offset)
    return out + size


@inlined_part
def _write_symbol(out: int, at: int, size: int, upper: int) -> int:
    store_byte(out, SYMBOL_TAG)
    store_byte(out + 1, size)
    for offset in range(size):
        store_byte(out + 2 + offset, _BYTES[upper, load_byte(at + offset)])
    return out + 2 + size


@kernel_part
def _write_time(out: int, time_ns: int) -> int:
    store_byte(out, _EXCHANGE_TAG)
    out += 1
    while time_ns > 0x7F:
        store_byte(out, (time_ns & 0x7F) | 0x80)
        time_ns >>= 7
        out += 1
    store_byte(out, time_ns)
    return out + 1


@inlined_part
def write_record(out: int, symbol: _Symbol, tick: _Tick, factor: int, rules: Rules) -> int:
    """Write the record of a tick; return the address after it."""
    head = out
    if symbol.is_normal and factor == 1 and tick.additions_at == tick.end:
        out = _copy(out + 2, tick.start, tick.stop - tick.start)
    elif symbol.is_normal and factor == 1:
        # There is an ingest time, which is left out.
        out = _copy(out + 2, tick.start, tick.end - tick.start)
        out = _copy(out, tick.additions_at, tick.stop - tick.additions_at)
    else:
        out = _write_symbol(out + 2, symbol.at, symbol.size, rules.upper)
        # The price and the volume, as they came.
        out = _copy(out, tick.price_at, tick.time_at - tick.price_at)
        out = _write_time(out, tick.time * factor)
        out = _copy(out, tick.additions_at, tick.stop - tick.additions_at)
    store_byte(head, RECORD_TAG)
    store_byte(head + 1, out - head - 2 + rules.stamp_size)
    store_word(out, rules.stamp)
    store_word(out + 8, rules.stamp_rest)
    return out + rules.stamp_size


@inlined_part
def read_rules(rules: NDArray[np.int64]) -> Rules:
    """Return the numbers of Rules."""
    return Rules(
        rules[0],
        rules[1],
        rules[2],
        rules[3],
        rules[4],
        rules[5],
        rules[6],
        rules.view(np.float64)[7],
    )


@inlined_part
def max_volume_of(decimals: int, rules: NDArray[np.int64]) -> int:
    """Return the largest volume with so many decimals."""
    max_volume: int = rules[_MAX_VOLUMES + decimals]
    return max_volume


@KERNELS.add("UniTuple(int64, 5)(int64, int64, int64, int64, int64[::1], int64[::1])")
def parse_frames(
    position: int,
    end: int,
    out: int,
    room: int,
    rules: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> tuple[int, int, int, int, int]:
    """Write the record of each valid tick, count the invalid ones, up to the first unusual one.

    Args:
        position: the address of the first byte of a frame.
        end: the address after the last byte that has arrived.
        out: the address for the records: MAX_RECORD bytes for each of ``room``, then SLACK.
        room: how many ticks to take at most.
        rules: the numbers of Rules.
        counts: the numbers of COUNTS, to add to; the unit is that of the last time so far.

    Returns:
        Why it stopped; the position of the first frame that was not taken, and the size that it
        announces, 0 if that has not arrived; where the records end, and how many were written.
    """
    code, size, ticks = MORE, 0, 0
    # Named tuples and arrays of records, as arguments or results, cost 0.7 us more per call.
    rule = read_rules(rules)
    count = counts.view(COUNTS)[0]
    unit_ns = count.unit_ns
    while True:
        if ticks == room:
            code = FULL
            break
        start = position + 4
        if start > end:
            size = 0
            break
        size = big_endian_half(load_word(position))
        if size == 0 or size > rule.max_frame_size:
            code = BAD_FRAME
            break
        stop = start + size
        if stop > end:
            break
        head = load_word(start)
        raw_size = (head >> 8) & 0xFF
        price_at = start + 2 + raw_size
        code = UNUSUAL
        if (head & 0xFF) != SYMBOL_TAG or not 0 < raw_size <= MAX_RAW_SYMBOL:
            break
        if price_at + MIN_NUMBERS > stop:
            break
        symbol = read_symbol(start, raw_size, rule.upper)
        if not symbol.is_valid:
            break
        tick = read_numbers(start, price_at, stop)
        if not tick.is_usual:
            break
        factor = factor_of(tick.time, rule.unit_ns)
        latest = latest_in(rule.latest_ns, factor)
        max_volume = max_volume_of(tick.decimals, rules)
        is_valid = is_usual_trade(tick, max_volume, factor, latest, rule)
        if not is_valid:
            if not _has_valid_values(tick, max_volume, rule):
                # The bars of its time hear of it.
                break
            is_valid = _has_valid_time(tick, factor, latest, count)
        code = MORE
        position = stop
        if is_valid:
            out = write_record(out, symbol, tick, factor, rule)
            if factor != 1:
                count.conversions += 1
            if factor != unit_ns:
                count.unit_changes += unit_ns != 0
                unit_ns = factor
            ticks += 1
    count.unit_ns = unit_ns
    return code, position, size, out, ticks
