"""Turn aggregates and bars into the JSON of every endpoint of the gateway.

The keys and their values follow from ``marketdata/fields.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import orjson

from marketdata.decimals import plain_decimal
from marketdata.fields import AGGREGATE_FIELDS, BAR_FIELDS, Kind, PublicColumn, public_columns
from marketdata.timestamps import NS_PER_MS
from marketdata.wire.market_data_pb2 import (
    COVERAGE_FULL,
    FILLER_NONE,
    Aggregate,
    Bar,
    IntervalComplete,
)

# A field's value: text, number, or null.
JsonAggregate = dict[str, str | float | bool | None]
JsonBar = dict[str, str | float | bool | None]

INTERVAL_COMPLETE = "interval_complete"

AGGREGATE_COLUMNS = public_columns(AGGREGATE_FIELDS)
BAR_COLUMNS = public_columns(BAR_FIELDS)
AGGREGATE_KEYS = tuple(column.name for column in AGGREGATE_COLUMNS)
BAR_KEYS = tuple(column.name for column in BAR_COLUMNS)

# Where a message and its JSON differ. A producer that does not report its coverage does not promise
# all of it.
_RULES = {
    "complete": f"message.coverage == {COVERAGE_FULL} and not message.refused",
    "coverage": "words_coverage.get(message.coverage, 'partial')",
}


class EncodeBar(Protocol):
    """Turn a bar into its JSON object."""

    def __call__(self, bar: Bar, /, *, prices: bool = True) -> JsonBar:
        """Return the JSON object; ``prices``: whether a filler repeats the last close."""


def build_aggregate_encoder(
    columns: Sequence[PublicColumn],
) -> Callable[[Aggregate], JsonAggregate]:
    """Return the function that makes the JSON object of an aggregate."""
    values = [(column, _RULES.get(column.field.name) or _expression(column)) for column in columns]
    encode = _compile("aggregate_to_dict", "message", [], values)
    return cast("Callable[[Aggregate], JsonAggregate]", encode)


def build_bar_encoder(columns: Sequence[PublicColumn]) -> EncodeBar:
    """Return the function that makes the JSON object of a bar."""
    body = [
        f"is_filler = message.filler != {FILLER_NONE}",
        # A filler has no price to repeat where no bar comes before it.
        "has_prices = message.close != 0 and prices if is_filler else True",
    ]
    values = []
    for column in columns:
        field = column.field
        value = _RULES.get(field.name) or _expression(column)
        if field.kind is Kind.REAL and field.nullable:
            # What is computed from trades is null in a bar without trades.
            value += " if has_prices else None" if field.candle else " if not is_filler else None"
        values.append((column, value))
    return cast("EncodeBar", _compile("bar_to_dict", "message, *, prices=True", body, values))


def _expression(column: PublicColumn) -> str:  # noqa: PLR0911  one for each kind
    field = column.field
    value = f"message.{field.on_wire}"
    match field.kind:
        case Kind.COUNT | Kind.POSITION:
            return f"str({value})"
        case Kind.SIZE:
            return f"plain_decimal({value}, message.volume_decimals)"
        case Kind.REAL if field.nullable:
            # Only NaN differs from itself.
            return f"({value} if {value} == {value} else None)"
        case Kind.TIME:
            # Read once for both of its columns.
            text = f"str({field.name})" if column.is_ns else f"str({field.name} // {NS_PER_MS})"
            # The time of a close that no trade gave.
            return (
                f"({text} if message.close == message.close else None)" if field.nullable else text
            )
        case Kind.CHOICE if field.nullable:
            return f"words_{field.name}.get({value})"
        case Kind.CHOICE:
            return f"words_{field.name}[{value}]"
        case Kind.TEXT if field.nullable:
            return f"{value} or None"
        case _:
            return value


# As dataclasses do: a bar takes 2.0 us this way, and 2.9 us with a list of keys and converters.
def _compile(
    name: str, parameters: str, body: Sequence[str], values: Sequence[tuple[PublicColumn, str]]
) -> Callable[..., Any]:
    times = [
        f"{column.field.name} = message.{column.field.on_wire}"
        for column, _ in values
        if column.is_ns
    ]
    items = ", ".join(f"{column.name!r}: {value}" for column, value in values)
    lines = [f"def {name}({parameters}):", *times, *body, f"return {{{items}}}"]
    words: dict[str, Any] = {
        f"words_{column.field.name}": dict(column.field.choices)
        for column, _ in values
        if column.field.choices
    }
    words["plain_decimal"] = plain_decimal
    exec("\n ".join(lines), words)  # noqa: S102  the table's own names
    return cast("Callable[..., Any]", words[name])


aggregate_to_dict = build_aggregate_encoder(AGGREGATE_COLUMNS)
bar_to_dict = build_bar_encoder(BAR_COLUMNS)


def empty_aggregate(symbol: str) -> JsonAggregate:
    """Return the empty aggregate: the symbol, and null for all that is unknown. Never zeros."""
    return {**dict.fromkeys(AGGREGATE_KEYS), "symbol": symbol}


def describe(column: PublicColumn) -> str:
    """Return what schemas say about one key of the JSON."""
    field = column.field
    if column.is_ns:
        return f"{field.json} in nanoseconds"
    if field.kind is Kind.TIME:
        return f"{field.description}; milliseconds since 1970-01-01T00:00Z"
    return field.description


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
