"""Write a page of bars as JSON, as CSV or as an Arrow stream."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from gateway.bars.query import BarsQuery, Fill
from gateway.encoding import BAR_COLUMNS, BAR_KEYS, JsonBar, bar_to_dict, encode_json
from gateway.errors import NotAcceptable
from marketdata.fields import Kind, PublicColumn
from marketdata.validation import MAX_VOLUME_DECIMALS
from marketdata.wire.market_data_pb2 import Bar

if TYPE_CHECKING:
    from types import ModuleType

JSON = "application/json"
CSV = "text/csv"
ARROW = "application/vnd.apache.arrow.stream"

# Bars encoded in one turn of the event loop, about 2 ms; live clients wait meanwhile.
BARS_PER_TURN = 500


async def encode_page(
    media_type: str, query: BarsQuery, bars: Sequence[Bar], next_cursor: str
) -> bytes:
    """Return the body of a response; other work goes on while a long one is encoded.

    Raises:
        NotAcceptable: the library for this form is not installed.
    """
    arrow = await _load_arrow() if media_type == ARROW else None
    rows: list[JsonBar] = []
    for start in range(0, len(bars), BARS_PER_TURN):
        if start:
            await asyncio.sleep(0)
        rows += _rows(bars[start : start + BARS_PER_TURN], query.fill)
    if arrow is not None:
        return await asyncio.to_thread(_encode_arrow, arrow, rows)
    if media_type == CSV:
        return await _encode_csv(rows)
    return await _encode_json(query, rows, next_cursor)


def _rows(bars: Sequence[Bar], fill: Fill) -> Iterator[JsonBar]:
    prices = fill is not Fill.NULL
    return (bar_to_dict(bar, prices=prices) for bar in bars)


async def _encode_json(query: BarsQuery, rows: list[JsonBar], next_cursor: str) -> bytes:
    chunks = []
    for start in range(0, len(rows), BARS_PER_TURN):
        if start:
            await asyncio.sleep(0)
        # Without the brackets of a list.
        chunks.append(encode_json(rows[start : start + BARS_PER_TURN])[1:-1])
    head = encode_json({"symbol": query.symbol, "interval": query.interval})[:-1]
    tail = encode_json({"nextCursor": next_cursor or None})[1:]
    return head + b',"bars":[' + b",".join(chunks) + b"]," + tail


async def _encode_csv(rows: list[JsonBar]) -> bytes:
    # RFC 4180: CR LF, quotes only where they are needed.
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(BAR_KEYS)
    for start in range(0, len(rows), BARS_PER_TURN):
        if start:
            await asyncio.sleep(0)
        for row in rows[start : start + BARS_PER_TURN]:
            # As in JSON: floats in the shortest form, null is empty.
            writer.writerow(
                str(value).lower() if isinstance(value, bool) else value for value in row.values()
            )
    return text.getvalue().encode()


async def _load_arrow() -> ModuleType:
    # It takes 0.2 s the first time.
    try:
        return await asyncio.to_thread(_import_arrow)
    except ImportError as exc:
        raise NotAcceptable(
            ARROW, (JSON, CSV), "install the extra arrow (market-data-server[arrow])"
        ) from exc


def _import_arrow() -> ModuleType:
    import pyarrow.ipc  # noqa: PLC0415  optional, and slow to load

    module: ModuleType = pyarrow
    return module


def _encode_arrow(arrow: Any, rows: list[JsonBar]) -> bytes:
    table = arrow.table(arrow_columns(arrow, BAR_COLUMNS, rows))
    sink = arrow.BufferOutputStream()
    with arrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    body: bytes = sink.getvalue().to_pybytes()
    return body


def arrow_columns(
    arrow: Any, columns: Sequence[PublicColumn], rows: Sequence[JsonBar]
) -> dict[str, Any]:
    """Return the Arrow columns of ``rows``.

    Times are timestamps in UTC, counts are integers and sizes decimals, so that a reader converts
    nothing.
    """
    types = {
        Kind.TEXT: arrow.string(),
        Kind.CHOICE: arrow.string(),
        Kind.REAL: arrow.float64(),
        Kind.COUNT: arrow.int64(),
        Kind.SIZE: arrow.decimal128(38, MAX_VOLUME_DECIMALS),
        Kind.POSITION: arrow.uint64(),
        Kind.NUMBER: arrow.uint32(),
        Kind.TIME: arrow.timestamp("ns", "UTC"),
        Kind.FLAG: arrow.bool_(),
    }
    arrays = {}
    for column in columns:
        if column.is_ns:
            # The column that has the milliseconds elsewhere has the whole time here.
            continue
        kind = column.field.kind
        key = f"{column.name}Ns" if kind is Kind.TIME else column.name
        values: list[Any] = [row[key] for row in rows]
        if kind in {Kind.COUNT, Kind.POSITION, Kind.TIME}:
            values = [None if digits is None else int(digits) for digits in values]
        elif kind is Kind.SIZE:
            values = [None if digits is None else Decimal(digits) for digits in values]
        arrays[column.name] = arrow.array(values, types[kind])
    return arrays
