"""Columns of ticks in, encoded records of a ``TickBatch`` out, in numpy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from marketdata.producer.columns import Columns
from marketdata.producer.encoding import (
    MAX_BATCH_BYTES,
    MAX_BATCH_TICKS,
    EncodedTicks,
    encode_varint,
)

_RECORD_TAG = 3 << 3 | 2
_PRICE_TAG = 2 << 3 | 1
_VOLUME_TAG = 3 << 3
_TIME_TAG = 4 << 3
_DECIMALS_TAG = 6 << 3
_ID_TAG = 7 << 3 | 2
_EXCLUDES_TAG = 8 << 3
_MAX_VARINT = 10
# The bytes of a record without its symbol and what few ticks have: tag and length in 3, the price
# in 9, two numbers in 11 each.
_NUMBERS = 3 + 9 + 11 + 11
# Of a field of one byte, and of the tag and the length of an id.
_SMALL = 2


def encode_columns(columns: Columns, max_ticks: int = MAX_BATCH_TICKS) -> Iterator[EncodedTicks]:
    """Return columns as encoded ticks, a batch at a time; the bytes are those of the same rows."""
    heads = [_symbol_field(symbol) for symbol in columns.symbols]
    widest = max(map(len, heads), default=0)
    table = np.zeros((len(heads), widest), np.uint8)
    for row, head in enumerate(heads):
        table[row, : len(head)] = np.frombuffer(head, np.uint8)
    sizes = np.array([len(head) for head in heads], np.int64)
    width = _NUMBERS + widest
    for column in (columns.decimals, columns.excludes):
        width += 0 if column is None else _SMALL
    if columns.trade_ids is not None:
        width += _SMALL + max(map(len, columns.trade_ids), default=0)
    step = min(max_ticks, MAX_BATCH_BYTES // width)
    for start in range(0, len(columns.codes), step):
        part = columns.between(start, start + step)
        data = _encode_part(table[part.codes], sizes[part.codes], part)
        yield EncodedTicks(data, len(part.codes))


# Each record gets a row of a matrix with room for the longest of each field, and a second matrix
# says which bytes are used. So all loops are over columns, in numpy.
_Cells = tuple[NDArray[np.uint8], NDArray[np.bool_]]


def _encode_part(
    symbols: NDArray[np.uint8], symbol_sizes: NDArray[np.int64], part: Columns
) -> bytes:
    count, widest = symbols.shape
    added = _additions(part)
    width = _NUMBERS + widest + sum(cells.shape[1] for cells, _ in added)
    matrix = np.zeros((count, width), np.uint8)
    used = np.zeros(matrix.shape, np.bool_)
    matrix[:, 3 : 3 + widest] = symbols
    used[:, 3 : 3 + widest] = np.arange(widest) < symbol_sizes[:, None]
    at = 3 + widest
    bits = np.ascontiguousarray(part.prices, "<f8")
    matrix[:, at] = _PRICE_TAG
    matrix[:, at + 1 : at + 9] = bits.view(np.uint8).reshape(count, 8)
    # proto3 leaves out what is zero; -0.0 is not.
    used[:, at : at + 9] = (bits.view("<u8") != 0)[:, None]
    at += 9
    for tag, numbers in ((_VOLUME_TAG, part.volumes), (_TIME_TAG, part.timestamps)):
        matrix[:, at] = tag
        used[:, at] = numbers != 0
        _put_varints(matrix[:, at + 1 : at + 11], used[:, at + 1 : at + 11], numbers)
        used[:, at + 1] &= used[:, at]
        at += 11
    for cells, are_used in added:
        stop = at + cells.shape[1]
        matrix[:, at:stop], used[:, at:stop] = cells, are_used
        at = stop
    lengths = used.sum(axis=1)
    matrix[:, 0] = _RECORD_TAG
    used[:, :2] = True
    # A payload has 1,104 bytes at most, so its length has one or two.
    long = lengths >= 0x80
    matrix[:, 1] = (lengths & 0x7F) | (long.view(np.uint8) << 7)
    matrix[:, 2] = lengths >> 7
    used[:, 2] = long
    return matrix[used].tobytes()


def _additions(part: Columns) -> list[_Cells]:
    fields = []
    if part.decimals is not None:
        fields.append(_small_field(_DECIMALS_TAG, part.decimals))
    if part.trade_ids is not None:
        fields.append(_id_field(part.trade_ids))
    if part.excludes is not None:
        fields.append(_small_field(_EXCLUDES_TAG, part.excludes))
    return fields


def _small_field(tag: int, numbers: NDArray[np.int64]) -> _Cells:
    cells = np.empty((len(numbers), _SMALL), np.uint8)
    cells[:, 0], cells[:, 1] = tag, numbers
    return cells, np.broadcast_to((numbers != 0)[:, None], cells.shape)


def _id_field(ids: list[bytes]) -> _Cells:
    sizes = np.fromiter(map(len, ids), np.int64, len(ids))
    widest = int(sizes.max())
    cells = np.empty((len(ids), _SMALL + widest), np.uint8)
    cells[:, 0], cells[:, 1] = _ID_TAG, sizes
    padded = b"".join(each.ljust(widest, b"\0") for each in ids)
    cells[:, _SMALL:] = np.frombuffer(padded, np.uint8).reshape(len(ids), widest)
    # An empty id is not written at all.
    sizes[sizes == 0] = -_SMALL
    return cells, np.arange(-_SMALL, widest) < sizes[:, None]


def _put_varints(
    matrix: NDArray[np.uint8], used: NDArray[np.bool_], numbers: NDArray[np.int64]
) -> None:
    left = numbers.astype(np.int64, copy=False).view(np.uint64)
    more = np.ones(len(left), np.bool_)
    for place in range(_MAX_VARINT):
        low = (left & np.uint64(0x7F)).astype(np.uint8)
        left = left >> np.uint64(7)
        used[:, place] = more
        more = left != 0
        if not more.any():
            matrix[:, place] = low
            return
        matrix[:, place] = low | (more.view(np.uint8) << 7)


def _symbol_field(symbol: str) -> bytes:
    data = symbol.encode()
    return b"\x0a%b%b" % (encode_varint(len(data)), data) if data else b""
