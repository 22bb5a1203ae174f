"""Ticks in, encoded records of a ``TickBatch`` out: from rows, and from columns of numpy.

An encoded record is the tag of ``TickBatch.ticks``, a length, and a serialized ``Tick``. A batch
is joined records, so ticks are encoded once, when they are given, and never again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, SupportsFloat, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from marketdata.producer.columns import Columns
from marketdata.producer.errors import InvalidTick
from marketdata.producer.values import (
    MAX_SYMBOL_BYTES,
    Timestamp,
    check_symbol,
    real,
    time_number,
    whole,
)
from marketdata.timestamps import TimestampUnit, fixed_unit
from marketdata.wire.market_data_pb2 import Tick

# The most in one batch. A frame may have 1,000,000 bytes; the head of one has less than 40.
MAX_BATCH_TICKS = 10_000
MAX_BATCH_BYTES = 900_000

TickRow = tuple[str, SupportsFloat | SupportsIndex, SupportsIndex, Timestamp]

_RECORD_TAG = 3 << 3 | 2
_SYMBOL_TAG = 1 << 3 | 2
_PRICE_TAG = 2 << 3 | 1
_VOLUME_TAG = 3 << 3
_TIME_TAG = 4 << 3
_MAX_VARINT = 10
_HEADS = tuple(bytes((_RECORD_TAG, size)) for size in range(0x80))
# The bytes of a record without its symbol: tag and length in 3, the tag and length of the symbol
# in 3, the price in 9, two numbers in 11 each.
_NUMBERS = 9 + 11 + 11


class EncodedTicks(NamedTuple):
    """Encoded records, few enough for one batch."""

    data: bytes
    ticks: int


class RowEncoder:
    """Encode one tick after the other.

    Args:
        unit: of timestamps that are numbers. They become nanoseconds; with ``auto`` they stay as
            they are, and the server goes by their magnitude.
    """

    def __init__(self, unit: TimestampUnit = "auto") -> None:
        self._unit_ns = fixed_unit(unit) or 1
        # The hot path: one message that is used again costs 0.7 µs per tick, a new one each 1.0.
        self._tick = Tick()

    def encode(
        self,
        symbol: str,
        price: SupportsFloat | SupportsIndex,
        volume: SupportsIndex,
        timestamp: Timestamp,
    ) -> bytes:
        """Return one encoded record.

        Raises:
            InvalidTick: an argument has the wrong type, or does not fit its field.
        """
        tick = self._tick
        if type(timestamp) is not int or self._unit_ns != 1:
            timestamp = time_number(timestamp, self._unit_ns)
        try:
            tick.symbol = symbol
            # protobuf knows no other kinds of numbers than its own, but says so by itself.
            tick.price = price  # type: ignore[assignment]
            tick.volume = volume  # type: ignore[assignment]
            tick.exchange_timestamp = timestamp
        except (TypeError, ValueError, OverflowError) as exc:
            raise _problem_of(symbol, price, volume, timestamp) from exc
        payload = tick.SerializeToString()
        size = len(payload)
        if size > MAX_SYMBOL_BYTES:
            check_symbol(symbol)
        return record_head(size) + payload


def encode_rows(
    rows: Iterable[TickRow], unit: TimestampUnit = "auto", max_ticks: int = MAX_BATCH_TICKS
) -> Iterator[EncodedTicks]:
    """Return rows of symbol, price, volume and timestamp as encoded ticks, a batch at a time.

    Args:
        rows: the ticks.
        unit: of timestamps that are numbers, see :class:`RowEncoder`.
        max_ticks: in one batch.

    Raises:
        InvalidTick: a row is not valid; the rows before it were returned.
    """
    encode = RowEncoder(unit).encode
    records: list[bytes] = []
    size = 0
    try:
        for row in rows:
            try:
                symbol, price, volume, timestamp = row
            except (TypeError, ValueError) as exc:
                problem = f"{row!r:.60} is not (symbol, price, volume, timestamp)"
                raise InvalidTick("row", problem) from exc
            record = encode(symbol, price, volume, timestamp)
            if len(records) == max_ticks or size + len(record) > MAX_BATCH_BYTES:
                yield EncodedTicks(b"".join(records), len(records))
                records.clear()
                size = 0
            records.append(record)
            size += len(record)
    except InvalidTick:
        if records:
            yield EncodedTicks(b"".join(records), len(records))
        raise
    if records:
        yield EncodedTicks(b"".join(records), len(records))


def encode_columns(columns: Columns, max_ticks: int = MAX_BATCH_TICKS) -> Iterator[EncodedTicks]:
    """Return columns as encoded ticks, a batch at a time; the bytes are those of the same rows."""
    heads = [_symbol_field(symbol) for symbol in columns.symbols]
    widest = max(map(len, heads), default=0)
    table = np.zeros((len(heads), widest), np.uint8)
    for row, head in enumerate(heads):
        table[row, : len(head)] = np.frombuffer(head, np.uint8)
    sizes = np.array([len(head) for head in heads], np.int64)
    step = min(max_ticks, MAX_BATCH_BYTES // (3 + widest + _NUMBERS))
    for start in range(0, len(columns.codes), step):
        part = slice(start, start + step)
        codes = columns.codes[part]
        data = _encode_part(
            table[codes],
            sizes[codes],
            columns.prices[part],
            columns.volumes[part],
            columns.timestamps[part],
        )
        yield EncodedTicks(data, len(codes))


def _encode_part(
    symbols: NDArray[np.uint8],
    symbol_sizes: NDArray[np.int64],
    prices: NDArray[np.float64],
    volumes: NDArray[np.int64],
    timestamps: NDArray[np.int64],
) -> bytes:
    # Each record gets a row of a matrix with room for the longest of each field, and a second
    # matrix says which bytes are used. So all loops are over columns, in numpy.
    count, widest = symbols.shape
    matrix = np.zeros((count, 3 + widest + _NUMBERS), np.uint8)
    used = np.zeros(matrix.shape, np.bool_)
    matrix[:, 3 : 3 + widest] = symbols
    used[:, 3 : 3 + widest] = np.arange(widest) < symbol_sizes[:, None]
    at = 3 + widest
    bits = np.ascontiguousarray(prices, "<f8")
    matrix[:, at] = _PRICE_TAG
    matrix[:, at + 1 : at + 9] = bits.view(np.uint8).reshape(count, 8)
    # proto3 leaves out what is zero; -0.0 is not.
    used[:, at : at + 9] = (bits.view("<u8") != 0)[:, None]
    at += 9
    for tag, numbers in ((_VOLUME_TAG, volumes), (_TIME_TAG, timestamps)):
        matrix[:, at] = tag
        used[:, at] = numbers != 0
        _put_varints(matrix[:, at + 1 : at + 11], used[:, at + 1 : at + 11], numbers)
        used[:, at + 1] &= used[:, at]
        at += 11
    lengths = used.sum(axis=1)
    matrix[:, 0] = _RECORD_TAG
    used[:, :2] = True
    # A payload has 1,034 bytes at most, so its length has one or two.
    long = lengths >= 0x80
    matrix[:, 1] = (lengths & 0x7F) | (long.view(np.uint8) << 7)
    matrix[:, 2] = lengths >> 7
    used[:, 2] = long
    return matrix[used].tobytes()


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


def record_head(size: int) -> bytes:
    """Return what stands before a tick of ``size`` bytes in a record."""
    # Most ticks have 30 to 40 bytes.
    return _HEADS[size] if size < 0x80 else b"\x1a" + encode_varint(size)


def split_records(records: bytes) -> list[bytes]:
    """Return the serialized ticks of encoded records."""
    payloads: list[bytes] = []
    at, end = 0, len(records)
    while at < end:
        at, size, shift = at + 1, 0, 0
        while True:
            byte = records[at]
            at += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        payloads.append(records[at : at + size])
        at += size
    return payloads


def encode_varint(number: int) -> bytes:
    """Return ``number``, 0 or more, in seven bits per byte."""
    data = bytearray()
    while number >= 0x80:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)


def _symbol_field(symbol: str) -> bytes:
    data = symbol.encode()
    return b"\x0a%b%b" % (encode_varint(len(data)), data) if data else b""


def _problem_of(symbol: object, price: object, volume: object, timestamp: object) -> InvalidTick:
    checks: tuple[tuple[Callable[..., object], tuple[Any, ...]], ...] = (
        (check_symbol, (symbol,)),
        (real, ("price", price)),
        (whole, ("volume", volume)),
        (whole, ("timestamp", timestamp)),
    )
    for check, arguments in checks:
        try:
            check(*arguments)
        except InvalidTick as exc:
            return exc
    return InvalidTick("tick", f"{(symbol, price, volume, timestamp)!r:.80} cannot be encoded")
