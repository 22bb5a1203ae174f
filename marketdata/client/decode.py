"""Make aggregates and bars of the gateway's JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from marketdata.client.columns import (
    AGGREGATE_COLUMNS,
    BAR_COLUMNS,
    attribute_of,
    converter_of,
)
from marketdata.client.rows import Aggregate, Bar
from marketdata.fields import PublicColumn

Row = Mapping[str, Any]


def build_decoder(kind: Callable[..., Any], columns: Sequence[PublicColumn]) -> Callable[..., Any]:
    """Return the function that makes a ``kind`` of one JSON object.

    It takes arguments of ``kind`` by name too. A key that an older gateway does not send is None.
    """
    plan = [(attribute_of(column), column.name, converter_of(column)) for column in columns]

    def decode(row: Row, **more: Any) -> Any:
        values = {}
        for attribute, key, convert in plan:
            value = row.get(key)
            values[attribute] = value if convert is None or value is None else convert(value)
        return kind(**values, **more)

    return decode


decode_aggregate = cast("Callable[..., Aggregate]", build_decoder(Aggregate, AGGREGATE_COLUMNS))
decode_bar = cast("Callable[[Row], Bar]", build_decoder(Bar, BAR_COLUMNS))
