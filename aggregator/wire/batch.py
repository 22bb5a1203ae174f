"""Read a serialized ``TickBatch`` into columns, exactly as the protobuf library reads it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from aggregator.wire.decode import DONE, MIN_TICK, TICK_TAG, Symbols, decode_ticks, put_id
from aggregator.wire.symbol_table import SymbolTable
from aggregator.wire.ticks import (
    ACTION_SHIFT,
    DECIMALS,
    EMPTY,
    EXCLUDES_SHIFT,
    HAS_ID,
    Ticks,
    make_ticks,
)
from marketdata.validation import RejectReason, check_additions
from marketdata.wire.market_data_pb2 import FeedReport, Refusal, Tick, TickBatch

_MIN_TICKS = 1024
# For so many numbers plain Python is faster than numpy.
_FEW = 32
_PRODUCER_TAG = TickBatch.PRODUCER_ID_FIELD_NUMBER << 3 | 2
_FIRST_SEQUENCE_TAG = TickBatch.FIRST_SEQUENCE_FIELD_NUMBER << 3
# What ingest writes after the ticks.
_TAIL_TAGS = {
    TickBatch.FEED_FIELD_NUMBER << 3 | 2,
    TickBatch.REFUSALS_FIELD_NUMBER << 3 | 2,
    TickBatch.ANY_PRICE_FIELD_NUMBER << 3,
}


@dataclass(slots=True)
class Batch:
    """The ticks of a batch in columns, which the next batch overwrites."""

    producer_id: str
    first_sequence: int
    count: int
    ticks: Ticks
    # The symbols without a row, by the index of the tick. They may be invalid.
    unknown: dict[int, str] = field(default_factory=dict)
    feed: FeedReport | None = None
    # Why ticks are not valid, by their indexes: those whose values do not fit the columns.
    invalid: dict[int, RejectReason] = field(default_factory=dict)
    # Ticks that the sender refused, and the number of the first one.
    refusals: Sequence[Refusal] = ()
    first_refusal: int = 0
    # Whether prices of 0 and below are valid.
    any_price: bool = False
    # How many ticks are empty: the sender refused them.
    empty: int = 0

    @property
    def rows(self) -> NDArray[np.int32]:
        """The row of each symbol, -1: it is in :attr:`unknown`."""
        return self.ticks.rows

    @property
    def prices(self) -> NDArray[np.float64]:
        """The price of each tick."""
        return self.ticks.prices

    @property
    def volumes(self) -> NDArray[np.int64]:
        """The volume of each tick."""
        return self.ticks.volumes

    @property
    def times(self) -> NDArray[np.int64]:
        """The exchange time of each tick."""
        return self.ticks.times

    def symbol(self, index: int, table: SymbolTable) -> str:
        """Return the symbol of a tick, which may be invalid."""
        row = int(self.rows[index])
        return self.unknown[index] if row < 0 else table.symbols[row]

    def empty_within(self, start: int, stop: int) -> list[int]:
        """Return the indexes of empty ticks with start <= index < stop."""
        if not self.empty:
            return []
        found: list[int] = np.flatnonzero(self.rows[start:stop] == EMPTY).tolist()
        return [start + each for each in found]

    def without_trade(self, start: int, stop: int) -> list[int]:
        """Return the indexes with start <= index < stop of ticks that are no trades of a symbol."""
        found: list[int] = np.flatnonzero(self.rows[start:stop] < 0).tolist()
        return [start + each for each in found]

    def put(self, index: int, tick: Tick, table: SymbolTable) -> None:
        """Write one tick into the columns."""
        row = table.rows.get(tick.symbol, -1)
        if row < 0:
            self.unknown[index] = tick.symbol
            if not tick.symbol and not tick.ByteSize():
                row = EMPTY
                self.empty += 1
        self.rows[index] = row
        self.prices[index] = tick.price
        self.volumes[index] = tick.volume
        self.times[index] = tick.exchange_timestamp
        self.ticks.marks[index] = 0
        reason = check_additions(tick)
        if reason is not None:
            self.invalid[index] = reason
            # The loop stops here.
            self.unknown[index], self.rows[index] = tick.symbol, -1
            return
        mark = tick.volume_decimals | tick.excludes << EXCLUDES_SHIFT | tick.action << ACTION_SHIFT
        if tick.trade_id:
            mark |= HAS_ID
            padded = bytes(8) + tick.trade_id
            put_id(_address_of(padded) + 8, len(tick.trade_id), self.ticks.ids, index)
        self.ticks.marks[index] = mark

    def volume(self, index: int) -> tuple[int, int]:
        """Return the volume of a tick, and its decimals."""
        return int(self.volumes[index]), int(self.ticks.marks[index]) & DECIMALS

    def time_range(self, latest_ns: int) -> tuple[int, int] | None:
        """Return the earliest and the latest exchange time within 1..latest_ns, if there is one."""
        if not self.count:
            return None
        times = self.times[: self.count]
        if self.count <= _FEW:
            few = times.tolist()
            first, last = min(few), max(few)
        else:
            first, last = int(times.min()), int(times.max())
        if first > 0 and last <= latest_ns:
            return first, last
        # Ticks with other times will be rejected.
        times = times[(times > 0) & (times <= latest_ns)]
        return (int(times.min()), int(times.max())) if times.size else None


class Decoder:
    """Decode batches, all of them into the same columns."""

    def __init__(self, table: SymbolTable) -> None:
        self._table = table
        self._make_columns(_MIN_TICKS)

    def decode(self, data: bytes) -> Batch:
        """Return the ticks of ``data``.

        Raises:
            DecodeError: the protobuf library does not parse it.
        """
        start, producer_id, first_sequence = _read_head(data)
        batch = self._new(producer_id, first_sequence, len(data) // MIN_TICK + 1)
        # Usually nothing is left after the last tick.
        rest = self._decode_ticks(data, start, batch)
        if rest < len(data):
            if data[rest] not in _TAIL_TAGS:
                return self._decode_by_library(data)
            tail = TickBatch.FromString(data[rest:])
            if tail.ticks or tail.producer_id or tail.first_sequence:
                return self._decode_by_library(data)
            batch.feed = tail.feed if tail.HasField("feed") else None
            batch.refusals, batch.first_refusal = tail.refusals, tail.first_refusal
            batch.any_price = tail.any_price
        return batch

    def read(self, ticks: Sequence[Tick]) -> Batch:
        """Return ticks that were decoded already."""
        batch = self._new("", 0, len(ticks))
        batch.count = len(ticks)
        for index, tick in enumerate(ticks):
            batch.put(index, tick, self._table)
        return batch

    def _new(self, producer_id: str, first_sequence: int, max_ticks: int) -> Batch:
        # An empty batch with room for so many ticks.
        if len(self._ticks.rows) < max_ticks:
            self._make_columns(2 * max_ticks)
        return Batch(producer_id, first_sequence, 0, self._ticks)

    def _make_columns(self, size: int) -> None:
        self._ticks = make_ticks(size)

    # Reads ticks from ``start`` on; returns where the rest begins, which is no tick, or a damaged
    # or a large one.
    def _decode_ticks(self, data: bytes, start: int, batch: Batch) -> int:
        symbols = Symbols(self._table.slots, self._table.heads, self._table.names)
        address = _address_of(data)
        position, end, index = address + start, address + len(data), 0
        while True:
            code, position, index, empty = decode_ticks(position, end, index, symbols, batch.ticks)
            batch.empty += empty
            at = position - address
            if code == DONE or data[at] != TICK_TAG:
                break
            # One tick that is written in an unusual way, or has an unknown symbol.
            size = data[at + 1] if at + 1 < len(data) else 128
            if size > 127 or at + 2 + size > len(data):
                break
            self._make_room(batch, index, end - position)
            if size == 0:
                continue
            batch.put(index, Tick.FromString(data[at + 2 : at + 2 + size]), self._table)
            index += 1
            position += 2 + size
        batch.count = index
        return position - address

    def _make_room(self, batch: Batch, index: int, rest: int) -> None:
        # For one tick at ``index`` of fewer bytes than usual, and usual ones after it.
        needed = index + 1 + rest // MIN_TICK + 1
        if len(batch.rows) < needed:
            former = self._ticks
            self._make_columns(2 * needed)
            for column, values in zip(_columns(self._ticks), _columns(former), strict=True):
                column[:index] = values[:index]
            batch.ticks = self._ticks

    def _decode_by_library(self, data: bytes) -> Batch:
        message = TickBatch.FromString(data)
        batch = self.read(message.ticks)
        batch.producer_id, batch.first_sequence = message.producer_id, message.first_sequence
        if message.HasField("feed"):
            batch.feed = message.feed
        batch.refusals, batch.first_refusal = message.refusals, message.first_refusal
        batch.any_price = message.any_price
        return batch


# Python's own function: by way of an array it takes 1 us more.
_address_of: Callable[[bytes], int] = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object)(
    ("PyBytes_AsString", ctypes.pythonapi)
)


def _read_head(data: bytes) -> tuple[int, str, int]:
    # Returns where the ticks begin, the producer id and the first sequence, if both are written
    # first and in this order. Elsewhere they are found after the ticks.
    at, producer_id = 0, ""
    if len(data) > 1 and data[0] == _PRODUCER_TAG and data[1] < 0x80 and len(data) >= 2 + data[1]:
        at = 2 + data[1]
        try:
            producer_id = data[2:at].decode()
        except UnicodeDecodeError as exc:
            raise DecodeError("producer_id is not UTF-8") from exc
    if at < len(data) and data[at] == _FIRST_SEQUENCE_TAG:
        value = shift = 0
        for position in range(at + 1, min(at + 10, len(data))):
            byte = data[position]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return position + 1, producer_id, value
    return at, producer_id, 0


def _columns(ticks: Ticks) -> list[NDArray[Any]]:
    return list(ticks)
