"""Ticks in, encoded records of a ``TickBatch`` out.

An encoded record is the tag of ``TickBatch.ticks``, a length, and a serialized ``Tick``. A batch
is joined records, so ticks are encoded once, when they are given, and never again. Columns are
encoded by :mod:`marketdata.producer.matrix`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple, SupportsFloat, SupportsIndex

from marketdata.producer.errors import InvalidTick
from marketdata.producer.values import (
    MAX_SYMBOL_BYTES,
    Timestamp,
    TradeId,
    Volume,
    check_symbol,
    excludes_number,
    real,
    time_number,
    trade_id_bytes,
    volume_number,
    whole,
)
from marketdata.timestamps import TimestampUnit, fixed_unit
from marketdata.wire.market_data_pb2 import Tick, TickAction

# The most in one batch. A frame may have 1,000,000 bytes; the head of one has less than 40.
MAX_BATCH_TICKS = 10_000
MAX_BATCH_BYTES = 900_000

Price = SupportsFloat | SupportsIndex
TickRow = (
    tuple[str, Price, Volume, Timestamp]
    | tuple[str, Price, Volume, Timestamp, TradeId]
    | tuple[str, Price, Volume, Timestamp, TradeId, int]
)

_SIZED = (Decimal, tuple)
_NO_ID = b""
_RECORD_TAG = 3 << 3 | 2
_HEADS = tuple(bytes((_RECORD_TAG, size)) for size in range(0x80))


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
        # Another one for ticks with decimals, ids and so on, of which the first one has none.
        self._marked = Tick()

    def encode(
        self,
        symbol: str,
        price: Price,
        volume: Volume,
        timestamp: Timestamp,
        *,
        trade_id: TradeId = _NO_ID,
        excludes: int = 0,
    ) -> bytes:
        """Return one encoded record.

        Raises:
            InvalidTick: an argument has the wrong type, or does not fit its field.
        """
        # Most ticks have none of these; the checks cost 0.03 µs.
        is_sized = type(volume) is not int and isinstance(volume, _SIZED)
        if is_sized or trade_id is not _NO_ID or excludes:
            return self._encode_marked(
                symbol, price, volume, timestamp, trade_id=trade_id, excludes=excludes
            )
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

    def encode_cancel(self, symbol: str, trade_id: TradeId, timestamp: Timestamp) -> bytes:
        """Return the record that cancels a trade.

        Raises:
            InvalidTick: as :meth:`encode`, or the trade has no id.
        """
        action = TickAction.TICK_ACTION_CANCEL
        return self._encode_marked(
            symbol, 0.0, 0, timestamp, trade_id=_present(trade_id), action=action
        )

    def encode_correct(
        self,
        symbol: str,
        price: Price,
        volume: Volume,
        timestamp: Timestamp,
        *,
        trade_id: TradeId,
        excludes: int = 0,
    ) -> bytes:
        """Return the record that corrects a trade.

        Raises:
            InvalidTick: as :meth:`encode`, or the trade has no id.
        """
        return self._encode_marked(
            *(symbol, price, volume, timestamp),
            trade_id=_present(trade_id),
            excludes=excludes,
            action=TickAction.TICK_ACTION_CORRECT,
        )

    def _encode_marked(
        self,
        symbol: str,
        price: Price,
        volume: Volume,
        timestamp: Timestamp,
        *,
        trade_id: TradeId,
        excludes: int = 0,
        action: TickAction.ValueType = TickAction.TICK_ACTION_TRADE,
    ) -> bytes:
        tick = self._marked
        tick.volume, tick.volume_decimals = volume_number(volume)
        tick.trade_id = trade_id_bytes(trade_id)
        tick.excludes = excludes_number(excludes) if excludes else 0
        tick.action = action
        if type(timestamp) is not int or self._unit_ns != 1:
            timestamp = time_number(timestamp, self._unit_ns)
        try:
            tick.symbol = symbol
            tick.price = price  # type: ignore[assignment]
            tick.exchange_timestamp = timestamp
        except (TypeError, ValueError, OverflowError) as exc:
            raise _problem_of(symbol, price, tick.volume, timestamp) from exc
        payload = tick.SerializeToString()
        size = len(payload)
        if size > MAX_SYMBOL_BYTES:
            check_symbol(symbol)
        return record_head(size) + payload


def _present(trade_id: TradeId) -> bytes:
    data = trade_id_bytes(trade_id)
    if not data:
        raise InvalidTick("trade_id", "is empty; only a trade with an id can be amended")
    return data


def encode_rows(
    rows: Iterable[TickRow], unit: TimestampUnit = "auto", max_ticks: int = MAX_BATCH_TICKS
) -> Iterator[EncodedTicks]:
    """Return rows as encoded ticks, a batch at a time.

    Args:
        rows: the ticks: symbol, price, volume and timestamp, and as the user likes the trade id and
            the excludes.
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
                symbol, price, volume, timestamp = row  # type: ignore[misc]
            except (TypeError, ValueError):
                record = _encode_longer(encode, row)
            else:
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


def _encode_longer(encode: Callable[..., bytes], row: Any) -> bytes:
    try:
        symbol, price, volume, timestamp, trade_id, *others = row
        (excludes,) = others or (0,)
    except (TypeError, ValueError) as exc:
        problem = f"{row!r:.60} is not (symbol, price, volume, timestamp), trade_id and excludes"
        raise InvalidTick("row", problem) from exc
    return encode(symbol, price, volume, timestamp, trade_id=trade_id, excludes=excludes)


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
