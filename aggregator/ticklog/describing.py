"""Records for people and for programs."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import DecodeError

from aggregator.ticklog.log import Kind, Record
from marketdata.timestamps import NS_PER_S
from marketdata.wire.market_data_pb2 import Tick, TickBatch


def describe_time(ns: int) -> str:
    """Return a time with all its digits, such as 2026-11-30 20:15:00.000000001."""
    seconds, rest = divmod(ns, NS_PER_S)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{ns} ns"
    return f"{moment:%Y-%m-%d %H:%M:%S}.{rest:09}"


def describe_record(record: Record, *, with_ticks: bool) -> Iterator[str]:
    """Give the lines of a record."""
    head = f"{record.offset:>12}  {describe_time(record.time_ns)}  {record.kind.name:<12}"
    batch = _batch_of(record)
    if batch is None:
        yield f"{head}  {len(record.payload):,} bytes"
        return
    parts = [
        f"producer {batch.producer_id or '-'}",
        f"first sequence {batch.first_sequence}",
        f"{len(batch.ticks):,} ticks",
    ]
    if batch.refusals:
        parts.append(f"{len(batch.refusals):,} refusals")
    if batch.HasField("feed"):
        parts.append(f"{batch.feed.producers:,} producers connected")
    yield f"{head}  {', '.join(parts)}"
    if with_ticks:
        for sequence, tick in enumerate(batch.ticks, batch.first_sequence):
            yield f"{'':>12}  {sequence}  {_describe_tick(tick)}"


def record_to_dict(record: Record, *, with_ticks: bool) -> dict[str, Any]:
    """Return a record for JSON."""
    found: dict[str, Any] = {
        "offset": record.offset,
        "time_ns": record.time_ns,
        "kind": record.kind.name.lower(),
        "bytes": len(record.payload),
    }
    batch = _batch_of(record)
    if batch is None:
        return found | {"payload": base64.b64encode(record.payload).decode()}
    found |= {
        "producer_id": batch.producer_id,
        "first_sequence": batch.first_sequence,
        "ticks": len(batch.ticks),
        "refusals": len(batch.refusals),
    }
    if with_ticks:
        found["ticks"] = [
            {
                "sequence": sequence,
                "symbol": tick.symbol,
                "price": tick.price,
                "volume": tick.volume,
                "exchange_timestamp": tick.exchange_timestamp,
                "ingest_timestamp": tick.ingest_timestamp,
            }
            for sequence, tick in enumerate(batch.ticks, batch.first_sequence)
        ]
    return found


def _batch_of(record: Record) -> TickBatch | None:
    """Return the batch of a record; None: it holds something else."""
    if record.kind is not Kind.BATCH:
        return None
    try:
        return TickBatch.FromString(record.payload)
    except DecodeError:
        return None


def _describe_tick(tick: Tick) -> str:
    if not tick.ByteSize():
        return "refused by ingest"
    return (
        f"{tick.symbol}  price {tick.price!r}  volume {tick.volume}  "
        f"traded {describe_time(tick.exchange_timestamp)}"
    )
