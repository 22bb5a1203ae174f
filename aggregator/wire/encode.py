"""The hot loops of Watch: columns to the wire bytes of an ``UpdateBatch``.

Each writes one piece per state: tag, length and message, byte for byte as the protobuf library
writes it, so that pieces joined are a serialized ``UpdateBatch``.

All take which rows or bars, and how many; columns as in ``layout``; the symbol of each row as
``SymbolTable`` has it; names of intervals and phases, INTERVAL_WIDTH and PHASE_WIDTH bytes for
each, with how many of them count; the epoch, which goes into each; ``out``, which takes the pieces
and has room for MAX_STATE_BYTES or MAX_BAR_BYTES each; and ``ends``, which takes where each ends.
They return where the last one ends.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aggregator.bars.layout import (
    BAR_END,
    BAR_LANE,
    BAR_ROW,
    BAR_SEQUENCE,
    BAR_START,
    BASE_START,
    CANDLE,
    CLOSE,
    COVERAGE,
    END,
    FIRST_SEQUENCE,
    FIRST_TS,
    HIGH,
    IN_SESSION,
    LANE,
    LANE_CANDLE,
    LANE_PHASE,
    LANE_REALS,
    LANES,
    LAST_SEQUENCE,
    LAST_TS,
    LOW,
    NOTIONAL,
    NOTIONAL_ERROR,
    OPEN,
    OPEN_SEQUENCE,
    PHASE,
    REVISION,
    SEQUENCE,
    SESSION,
    SESSION_REALS,
    SESSION_START,
    START,
    STATE,
    TRADES,
    VOLUME,
)
from marketdata.kernels import KERNELS, kernel_part
from marketdata.wire.market_data_pb2 import BAR_STATE_PARTIAL
from marketdata.words import (
    copy_block,
    leading_zeros,
    load_word,
    store_byte,
    store_double,
    store_word,
)

# What to have room for per piece; a little more than it can be, for whole words are written.
MAX_STATE_BYTES = 192
MAX_BAR_BYTES = 256
# How many bytes the names of intervals and phases have, filled up with anything.
INTERVAL_WIDTH = 16
PHASE_WIDTH = 8

_UPDATES_TAG = 0x0A
_BARS_TAG = 0x12
# The high bit of each byte of a word.
_MORE = -0x7F7F7F7F7F7F7F80
# A tag, and a double.
_REAL_BYTES = 9

# What is published of a candle: open, high, low, close, vwap; volume, trades, first and last time.
Summed = tuple[float, float, float, float, float, int, int, int, int]


@kernel_part
def _address(buffer: NDArray[np.uint8]) -> int:
    # It is unsigned, and the sum of that and an int64 is an int64.
    return 0 + buffer.ctypes.data


@kernel_part
def _number_size(value: int) -> int:
    # How many bytes a varint has, 10 for a negative one.
    return ((63 - leading_zeros(value | 1)) * 9 + 73) >> 6


@kernel_part
def _field_size(tag: int, value: int) -> int:
    return 0 if value == 0 else tag + _number_size(value)


@kernel_part
def _put_number(at: int, value: int) -> int:
    # Seven bits to a byte, eight bytes at once.
    x = value & 0x00FFFFFFFFFFFFFF
    x = (x & 0x000000000FFFFFFF) | ((x & 0x00FFFFFFF0000000) << 4)
    x = (x & 0x00003FFF00003FFF) | ((x & 0x0FFFC0000FFFC000) << 2)
    x = (x & 0x007F007F007F007F) | ((x & 0x3F803F803F803F80) << 1)
    size = _number_size(value)
    if size <= 8:
        store_word(at, x | (_MORE & ((1 << (8 * (size - 1))) - 1)))
        return at + size
    store_word(at, x | _MORE)
    last = value >> 56 & 0x7F
    if size == 9:
        store_byte(at + 8, last)
    else:
        store_word(at + 8, last | 0x80 | 0x100)
    return at + size


@kernel_part
def _put_field(at: int, tag: int, value: int) -> int:
    if value == 0:
        return at
    store_byte(at, tag)
    return _put_number(at + 1, value)


@kernel_part
def _put_high_field(at: int, field: int, value: int) -> int:
    # From field 16 on the tag has two bytes.
    if value == 0:
        return at
    store_word(at, (field << 3 & 0x7F) | 0x80 | (field >> 4) << 8)
    return _put_number(at + 2, value)


@kernel_part
def _put_real(at: int, tag: int, value: float) -> int:
    store_byte(at, tag)
    store_double(at + 1, value)
    return at + _REAL_BYTES


@kernel_part
def _put_head(at: int, tag: int, size: int) -> int:
    store_byte(at, tag)
    return _put_number(at + 1, size)


@kernel_part
def _put_symbol(at: int, names: NDArray[np.int64], row: int, length: int) -> int:
    store_word(at, 0x0A | length << 8)
    store_word(at + 2, names[row, 0])
    if length > 8:
        store_word(at + 10, names[row, 1])
        store_word(at + 18, names[row, 2])
        store_word(at + 26, names[row, 3])
    return at + 2 + length


@kernel_part
def _vwap(notional: float, error: float, volume: int, low: float, high: float) -> float:
    # As Candle.vwap.
    return min(max((notional + error) / volume, low), high)


@kernel_part
def _one(
    ints: NDArray[np.int64], reals: NDArray[np.float64], row: int, at: int, real_at: int
) -> Summed:
    low, high = reals[row, real_at + LOW], reals[row, real_at + HIGH]
    volume = ints[row, at + VOLUME]
    notional, error = reals[row, real_at + NOTIONAL], reals[row, real_at + NOTIONAL_ERROR]
    return (
        reals[row, real_at + OPEN],
        high,
        low,
        reals[row, real_at + CLOSE],
        _vwap(notional, error, volume, low, high),
        volume,
        ints[row, at + TRADES],
        ints[row, at + FIRST_TS],
        ints[row, at + LAST_TS],
    )


@kernel_part
def _both(
    ints: NDArray[np.int64],
    reals: NDArray[np.float64],
    row: int,
    at: int,
    real_at: int,
    base_ints: NDArray[np.int64],
    base_reals: NDArray[np.float64],
) -> Summed:
    # As Candle.merge: a candle of the row, into which its base candle is merged.
    before, notional = reals[row, real_at + NOTIONAL], base_reals[row, NOTIONAL]
    after = before + notional
    rounded = (before - after) + notional if before >= notional else (notional - after) + before
    error = reals[row, real_at + NOTIONAL_ERROR] + (base_reals[row, NOTIONAL_ERROR] + rounded)
    volume = ints[row, at + VOLUME] + base_ints[row, VOLUME]
    high = max(reals[row, real_at + HIGH], base_reals[row, HIGH])
    low = min(reals[row, real_at + LOW], base_reals[row, LOW])
    close, last_ts = reals[row, real_at + CLOSE], ints[row, at + LAST_TS]
    ts = base_ints[row, LAST_TS]
    if ts > last_ts or (
        ts == last_ts and base_ints[row, LAST_SEQUENCE] >= ints[row, at + LAST_SEQUENCE]
    ):
        close, last_ts = base_reals[row, CLOSE], ts
    first, first_ts = reals[row, real_at + OPEN], ints[row, at + FIRST_TS]
    ts = base_ints[row, FIRST_TS]
    if ts < first_ts or (
        ts == first_ts and base_ints[row, FIRST_SEQUENCE] < ints[row, at + FIRST_SEQUENCE]
    ):
        first, first_ts = base_reals[row, OPEN], ts
    return (
        first,
        high,
        low,
        close,
        _vwap(after, error, volume, low, high),
        volume,
        ints[row, at + TRADES] + base_ints[row, TRADES],
        first_ts,
        last_ts,
    )


@KERNELS.add(
    "int64(int32[::1], int64, int64[:,::1], float64[:,::1], int64[:,::1], float64[:,::1],"
    " int64[:,::1], int64[::1], int64, uint8[::1], int32[::1])"
)
def encode_states(
    rows: NDArray[np.int32],
    count: int,
    hot_ints: NDArray[np.int64],
    hot_reals: NDArray[np.float64],
    ints: NDArray[np.int64],
    reals: NDArray[np.float64],
    names: NDArray[np.int64],
    name_lengths: NDArray[np.int64],
    epoch: int,
    out: NDArray[np.uint8],
    ends: NDArray[np.int32],
) -> int:
    """Write the states of symbols, each as one of the ``updates`` of an ``UpdateBatch``.

    A row without a state has no piece.

    Measured on one core at 2.1 GHz: 70 ns for one of 500, 150 of 50,000.
    """
    begin = _address(out)
    at = begin
    for index in range(count):
        row = rows[index]
        with_base = ints[row, IN_SESSION] != 0 and hot_ints[row, TRADES] > 0
        with_session = ints[row, SESSION + TRADES] > 0
        if with_base or with_session:
            if with_base and with_session:
                candle = _both(ints, reals, row, SESSION, SESSION_REALS, hot_ints, hot_reals)
            elif with_base:
                candle = _one(hot_ints, hot_reals, row, 0, 0)
            else:
                candle = _one(ints, reals, row, SESSION, SESSION_REALS)
            first, high, low, close, vwap, volume, trades, _, last_ts = candle
            session_start, sequence = ints[row, SESSION_START], hot_ints[row, SEQUENCE]
            length = name_lengths[row]
            size = 2 + length + 5 * _REAL_BYTES
            size += _field_size(1, volume) + _field_size(1, last_ts) + _field_size(1, trades)
            size += _field_size(1, session_start)
            size += _field_size(1, sequence) + _field_size(1, epoch)
            at = _put_head(at, _UPDATES_TAG, size)
            at = _put_symbol(at, names, row, length)
            at = _put_real(at, 0x11, first)
            at = _put_real(at, 0x19, high)
            at = _put_real(at, 0x21, low)
            at = _put_real(at, 0x29, close)
            at = _put_field(at, 0x30, volume)
            at = _put_field(at, 0x38, last_ts)
            at = _put_field(at, 0x40, trades)
            at = _put_real(at, 0x49, vwap)
            at = _put_field(at, 0x50, session_start)
            at = _put_field(at, 0x58, sequence)
            at = _put_field(at, 0x60, epoch)
        ends[index] = at - begin
    return at - begin


@kernel_part
def _put_bar(
    at: int,
    row: int,
    lane: int,
    start: int,
    end: int,
    candle: Summed,
    state: int,
    revision: int,
    coverage: int,
    sequence: int,
    epoch: int,
    phase: int,
    names: NDArray[np.int64],
    name_lengths: NDArray[np.int64],
    interval_names: NDArray[np.uint8],
    interval_lengths: NDArray[np.int64],
    phases: NDArray[np.uint8],
    phase_lengths: NDArray[np.int64],
) -> int:
    first, high, low, close, vwap, volume, trades, first_ts, last_ts = candle
    length, interval_length = name_lengths[row], interval_lengths[lane]
    phase_length = phase_lengths[phase]
    size = 2 + length + 2 + interval_length + 5 * _REAL_BYTES
    size += _field_size(1, start) + _field_size(1, end)
    size += _field_size(1, volume) + _field_size(1, trades)
    size += _field_size(1, state) + _field_size(1, revision) + _field_size(1, coverage)
    size += _field_size(2, first_ts) + _field_size(2, last_ts)
    size += _field_size(2, sequence) + _field_size(2, epoch)
    if phase_length > 0:
        size += 3 + phase_length
    at = _put_head(at, _BARS_TAG, size)
    at = _put_symbol(at, names, row, length)
    store_word(at, 0x12 | interval_length << 8)
    copy_block(at + 2, _address(interval_names) + INTERVAL_WIDTH * lane)
    at += 2 + interval_length
    at = _put_field(at, 0x18, start)
    at = _put_field(at, 0x20, end)
    at = _put_real(at, 0x31, first)
    at = _put_real(at, 0x39, high)
    at = _put_real(at, 0x41, low)
    at = _put_real(at, 0x49, close)
    at = _put_field(at, 0x50, volume)
    at = _put_field(at, 0x58, trades)
    at = _put_real(at, 0x61, vwap)
    at = _put_field(at, 0x68, state)
    at = _put_field(at, 0x70, revision)
    at = _put_field(at, 0x78, coverage)
    at = _put_high_field(at, 17, first_ts)
    at = _put_high_field(at, 18, last_ts)
    at = _put_high_field(at, 19, sequence)
    at = _put_high_field(at, 20, epoch)
    if phase_length > 0:
        store_word(at, 0xAA | 0x01 << 8 | phase_length << 16)
        store_word(at + 3, load_word(_address(phases) + PHASE_WIDTH * phase))
        at += 3 + phase_length
    return at


@KERNELS.add(
    "int64(int32[::1], int64, int64[:,::1], float64[:,::1], int64[:,::1], int64[::1],"
    " uint8[:,::1], int64[::1], uint8[:,::1], int64[::1], int64, uint8[::1], int32[::1])"
)
def encode_bars(
    picked: NDArray[np.int32],
    count: int,
    bars_ints: NDArray[np.int64],
    bars_reals: NDArray[np.float64],
    names: NDArray[np.int64],
    name_lengths: NDArray[np.int64],
    interval_names: NDArray[np.uint8],
    interval_lengths: NDArray[np.int64],
    phases: NDArray[np.uint8],
    phase_lengths: NDArray[np.int64],
    epoch: int,
    out: NDArray[np.uint8],
    ends: NDArray[np.int32],
) -> int:
    """Write bars of the pool, which have trades, each as one of the ``bars``.

    Measured on one core at 2.1 GHz: 95 ns for one.
    """
    begin = _address(out)
    at = begin
    for index in range(count):
        bar = picked[index]
        at = _put_bar(
            at,
            bars_ints[bar, BAR_ROW],
            bars_ints[bar, BAR_LANE],
            bars_ints[bar, BAR_START],
            bars_ints[bar, BAR_END],
            _one(bars_ints, bars_reals, bar, 0, 0),
            bars_ints[bar, STATE],
            bars_ints[bar, REVISION],
            bars_ints[bar, COVERAGE],
            bars_ints[bar, BAR_SEQUENCE],
            epoch,
            bars_ints[bar, PHASE],
            names,
            name_lengths,
            interval_names,
            interval_lengths,
            phases,
            phase_lengths,
        )
        ends[index] = at - begin
    return at - begin


@KERNELS.add(
    "int64(int32[::1], int32[::1], int64, int64[::1], int64[:,::1], float64[:,::1], int64[:,::1],"
    " float64[:,::1], int64[:,::1], int64[::1], uint8[:,::1], int64[::1], uint8[:,::1], int64[::1],"
    " int64, uint8[::1], int32[::1])"
)
def encode_open_bars(
    rows: NDArray[np.int32],
    lanes: NDArray[np.int32],
    count: int,
    coverages: NDArray[np.int64],
    hot_ints: NDArray[np.int64],
    hot_reals: NDArray[np.float64],
    ints: NDArray[np.int64],
    reals: NDArray[np.float64],
    names: NDArray[np.int64],
    name_lengths: NDArray[np.int64],
    interval_names: NDArray[np.uint8],
    interval_lengths: NDArray[np.int64],
    phases: NDArray[np.uint8],
    phase_lengths: NDArray[np.int64],
    epoch: int,
    out: NDArray[np.uint8],
    ends: NDArray[np.int32],
) -> int:
    """Write the bars that are open, each as one of the ``bars`` of an ``UpdateBatch``.

    ``coverages`` has that of each. A lane whose bar is not open, has no trades or was never
    published, has no piece.

    Measured on one core at 2.1 GHz: 125 ns for one of 500, 210 of 50,000.
    """
    begin = _address(out)
    at = begin
    for index in range(count):
        row, lane = rows[index], lanes[index]
        column, real_column = LANES + LANE * lane, LANE_REALS + CANDLE * lane
        start, end = ints[row, column + START], ints[row, column + END]
        sequence = ints[row, column + OPEN_SEQUENCE]
        with_base = hot_ints[row, TRADES] > 0 and start <= ints[row, BASE_START] < end
        with_lane = ints[row, column + LANE_CANDLE + TRADES] > 0
        if start < end and sequence != 0 and (with_base or with_lane):
            if with_base and with_lane:
                candle = _both(
                    ints, reals, row, column + LANE_CANDLE, real_column, hot_ints, hot_reals
                )
            elif with_base:
                candle = _one(hot_ints, hot_reals, row, 0, 0)
            else:
                candle = _one(ints, reals, row, column + LANE_CANDLE, real_column)
            at = _put_bar(
                at,
                row,
                lane,
                start,
                end,
                candle,
                BAR_STATE_PARTIAL,
                0,
                coverages[index],
                sequence,
                epoch,
                ints[row, column + LANE_PHASE],
                names,
                name_lengths,
                interval_names,
                interval_lengths,
                phases,
                phase_lengths,
            )
        ends[index] = at - begin
    return at - begin
