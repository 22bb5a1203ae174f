"""Turn aggregates into the JSON that every door of the gateway speaks."""

from __future__ import annotations

from typing import Any

import orjson

from marketdata.timestamps import NS_PER_MS
from marketdata.wire.market_data_pb2 import Aggregate

# A field's value: text, number, or null.
JsonAggregate = dict[str, str | float | None]

FIELDS = (
    "symbol",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "timestamp",
    "timestampNs",
    "trades",
    "vwap",
    "sequence",
    "epoch",
)


def aggregate_to_dict(aggregate: Aggregate) -> JsonAggregate:
    """Return the JSON object of ``aggregate``.

    64-bit integers become decimal strings, because JavaScript's numbers end at 2**53.
    """
    ts_ns = aggregate.timestamp
    return {
        "symbol": aggregate.symbol,
        "open": aggregate.open,
        "high": aggregate.high,
        "low": aggregate.low,
        "close": aggregate.close,
        "volume": str(aggregate.volume),
        "timestamp": str(ts_ns // NS_PER_MS),
        "timestampNs": str(ts_ns),
        "trades": str(aggregate.trades),
        "vwap": aggregate.vwap,
        "sequence": str(aggregate.sequence),
        "epoch": str(aggregate.epoch),
    }


def empty_aggregate(symbol: str) -> JsonAggregate:
    """Return the empty aggregate: the symbol, and null for what is not known. Never zeros."""
    return {**dict.fromkeys(FIELDS), "symbol": symbol}


def encode_json(document: dict[str, Any]) -> bytes:
    """Return ``document`` as JSON; floats in the shortest form that reads back the same."""
    return orjson.dumps(document)
