"""Read a serialized ``TickBatch`` into columns, exactly as the protobuf library reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from aggregator.wire import decode as kernel
from aggregator.wire.symbol_table import SymbolTable
from marketdata.wire.market_data_pb2 import FeedReport, Tick, TickBatch

_MIN_TICKS = 1024
_PRODUCER_TAG = TickBatch.PRODUCER_ID_FIELD_NUMBER << 3 | 2
_FIRST_SEQUENCE_TAG = TickBatch.FIRST_SEQUENCE_FIELD_NUMBER << 3
_FEED_TAG = TickBatch.FEED_FIELD_NUMBER << 3 | 2
# A tick has a tag, a length and, to be read by the kernel, at least 18 bytes.
_MIN_TICK = 20


@dataclass(slots=True)
class Batch:
    """The ticks of a batch, a column for each field; good until the next one is decoded."""

    producer_id: str
    first_sequence: int
    count: int
    # How much later each tick is in the producer's order than the first one.
    offsets: NDArray[np.int32]
    # Row of the symbol, -1: it stands in ``strangers``.
    rows: NDArray[np.int32]
    prices: NDArray[np.float64]
    volumes: NDArray[np.int64]
    times: NDArray[np.int64]
    # Symbols without a row, by the index of the tick; they may not be symbols at all.
    strangers: dict[int, str] = field(default_factory=dict)
    feed: FeedReport | None = None

    def time_range(self, latest_ns: int) -> tuple[int, int] | None:
        """Return the earliest and the latest exchange time within 1..latest_ns, if there is one."""
        times = self.times[: self.count]
        if not times.size:
            return None
        first, last = int(times.min()), int(times.max())
        if first > 0 and last <= latest_ns:
            return first, last
        # Ticks with other times will be rejected.
        times = times[(times > 0) & (times <= latest_ns)]
        return (int(times.min()), int(times.max())) if times.size else None

    def symbol(self, index: int, table: SymbolTable) -> str:
        """Return the symbol of a tick, whatever it is."""
        row = int(self.rows[index])
        return self.strangers[index] if row < 0 else table.symbols[row]


class Decoder:
    """Decode batches into columns that are used again for the next one."""

    def __init__(self, table: SymbolTable) -> None:
        self._table = table
        self._room(_MIN_TICKS)

    def decode(self, data: bytes) -> Batch:
        """Return the ticks of ``data``.

        Raises:
            DecodeError: the protobuf library does not parse it.
        """
        start, producer_id, first_sequence = _read_head(data)
        self._room(len(data) // _MIN_TICK + 1)
        batch = self._new(producer_id, first_sequence, 0)
        # What lies behind the last tick that the kernel knows; most often nothing.
        rest = self._decode_ticks(data, start, batch)
        if rest < len(data):
            if data[rest] != _FEED_TAG:
                return self._decode_slowly(data)
            tail = TickBatch.FromString(data[rest:])
            if tail.ticks or tail.producer_id or tail.first_sequence:
                return self._decode_slowly(data)
            batch.feed = tail.feed
        return batch

    def read(self, ticks: Sequence[Tick]) -> Batch:
        """Return ticks that were decoded already."""
        self._room(len(ticks))
        batch = self._new("", 0, len(ticks))
        for index, tick in enumerate(ticks):
            self._put(batch, index, tick)
        return batch

    def _new(self, producer_id: str, first_sequence: int, count: int) -> Batch:
        return Batch(
            producer_id,
            first_sequence,
            count,
            self._offsets,
            self._rows,
            self._prices,
            self._volumes,
            self._times,
        )

    def _decode_ticks(self, data: bytes, start: int, batch: Batch) -> int:
        table = self._table
        address = np.frombuffer(data, np.uint8).ctypes.data if data else 0
        position, end, index = address + start, address + len(data), 0
        while True:
            code, position, index = kernel.decode_ticks(
                position,
                end,
                index,
                table.slots,
                table.names,
                self._rows,
                self._prices,
                self._volumes,
                self._times,
            )
            at = position - address
            if code == kernel.DONE or data[at] != kernel.TICK_TAG:
                break
            # One tick that is written in another way, or of an unknown symbol.
            size = data[at + 1] if at + 1 < len(data) else 0
            if size > 127 or at + 2 + size > len(data):
                break
            self._put(batch, index, Tick.FromString(data[at + 2 : at + 2 + size]))
            index += 1
            position += 2 + size
        batch.count = index
        return position - address

    def _decode_slowly(self, data: bytes) -> Batch:
        message = TickBatch.FromString(data)
        batch = self.read(message.ticks)
        batch.producer_id, batch.first_sequence = message.producer_id, message.first_sequence
        if message.HasField("feed"):
            batch.feed = message.feed
        return batch

    def _put(self, batch: Batch, index: int, tick: Tick) -> None:
        symbol = tick.symbol
        row = self._table.rows.get(symbol, -1)
        if row < 0:
            batch.strangers[index] = symbol
        self._rows[index] = row
        self._prices[index] = tick.price
        self._volumes[index] = tick.volume
        self._times[index] = tick.exchange_timestamp

    def _room(self, ticks: int) -> None:
        if len(getattr(self, "_rows", ())) < ticks:
            size = max(_MIN_TICKS, 2 * ticks)
            self._offsets = np.arange(size, dtype=np.int32)
            self._rows = np.zeros(size, np.int32)
            self._prices = np.zeros(size, np.float64)
            self._volumes = np.zeros(size, np.int64)
            self._times = np.zeros(size, np.int64)


def _read_head(data: bytes) -> tuple[int, str, int]:
    # Where the ticks begin, and what stands before them in the order in which it is written; what
    # stands there otherwise is found again behind the ticks.
    at, producer_id, first_sequence = 0, "", 0
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
    return at, producer_id, first_sequence
