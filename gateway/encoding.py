"""Turn aggregates and bars into the JSON that every door of the gateway speaks."""

from __future__ import annotations

import orjson

from marketdata.timestamps import NS_PER_MS
from marketdata.wire.market_data_pb2 import (
    BAR_STATE_EARLY,
    BAR_STATE_FINAL,
    BAR_STATE_PARTIAL,
    BAR_STATE_REVISED,
    COVERAGE_FULL,
    COVERAGE_NO_FEED,
    COVERAGE_PARTIAL,
    FILLER_NO_FEED,
    FILLER_NO_TRADES,
    FILLER_NONE,
    Aggregate,
    Bar,
    IntervalComplete,
)

# A field's value: text, number, or null.
JsonAggregate = dict[str, str | float | None]
JsonBar = dict[str, str | float | bool | None]

STATES = {
    BAR_STATE_PARTIAL: "partial",
    BAR_STATE_EARLY: "early",
    BAR_STATE_FINAL: "final",
    BAR_STATE_REVISED: "revised",
}
COVERAGES = {
    COVERAGE_NO_FEED: "no_feed",
    COVERAGE_PARTIAL: "partial",
    COVERAGE_FULL: "full",
}
FILLERS = {FILLER_NO_TRADES: "no_trades", FILLER_NO_FEED: "no_feed"}
INTERVAL_COMPLETE = "interval_complete"

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


def bar_to_dict(bar: Bar, *, prices: bool = True) -> JsonBar:
    """Return the JSON object of ``bar``; ``prices``: whether a filler has those before it."""
    is_filler = bar.filler != FILLER_NONE
    # A filler before which there is no bar has no price to repeat.
    priced = bar.close != 0 and prices if is_filler else True
    return {
        "symbol": bar.symbol,
        "interval": bar.interval,
        "start": str(bar.start // NS_PER_MS),
        "end": str(bar.end // NS_PER_MS),
        "startNs": str(bar.start),
        "endNs": str(bar.end),
        "open": bar.open if priced else None,
        "high": bar.high if priced else None,
        "low": bar.low if priced else None,
        "close": bar.close if priced else None,
        "volume": str(bar.volume),
        "trades": str(bar.trades),
        "vwap": None if is_filler else bar.vwap,
        "state": STATES[bar.state],
        "revision": bar.revision,
        "complete": bar.coverage == COVERAGE_FULL,
        # Who does not say how much was covered does not promise all of it.
        "coverage": COVERAGES.get(bar.coverage, "partial"),
        "filler": FILLERS.get(bar.filler),
        "phase": bar.phase or None,
        "number": bar.number,
        "sequence": str(bar.sequence),
        "epoch": str(bar.epoch),
    }


def completion_to_dict(completion: IntervalComplete) -> dict[str, str]:
    """Return the JSON object that says that an interval is complete."""
    return {
        "type": INTERVAL_COMPLETE,
        "interval": completion.interval,
        "end": str(completion.end // NS_PER_MS),
        "endNs": str(completion.end),
        "epoch": str(completion.epoch),
    }


def encode_json(document: object) -> bytes:
    """Return ``document`` as JSON; floats in the shortest form that reads back the same."""
    return orjson.dumps(document)
