"""Every form of aggregates and bars, held against what was recorded.

``python -m tests.unit.gateway.test_forms`` records them anew, after a change that is meant.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.ipc
import pytest
from graphql import GraphQLObjectType

from gateway.bars.formats import ARROW, CSV, JSON, encode_page
from gateway.bars.query import BarsQuery, Fill
from gateway.encoding import aggregate_to_dict, empty_aggregate, encode_json
from gateway.graphql.schema import build_schema
from gateway.rest.schemas import AggregateBody, BarBody
from marketdata.wire import market_data_pb2 as wire
from tests.unit.gateway.test_encoding import AAPL

RECORDED = Path(__file__).with_name("recorded")
MINUTE = 60 * 10**9
START = 1_735_201_200_000_000_000

TRADED = wire.Bar(
    symbol="AAPL",
    interval="1m",
    start=START,
    end=START + MINUTE,
    open=150.25,
    high=152.1,
    low=149.8,
    close=151.5,
    volume=2**60,
    trades=4711,
    vwap=150.98,
    state=wire.BAR_STATE_FINAL,
    coverage=wire.COVERAGE_FULL,
    phase="regular",
    sequence=2**64 - 1,
    epoch=2**63,
)
FILLER = wire.Bar(
    symbol="AAPL",
    interval="1m",
    start=START + MINUTE,
    end=START + 2 * MINUTE,
    open=151.5,
    high=151.5,
    low=151.5,
    close=151.5,
    state=wire.BAR_STATE_EARLY,
    filler=wire.FILLER_NO_TRADES,
    coverage=wire.COVERAGE_PARTIAL,
)
WITHOUT_PRICES = wire.Bar(
    symbol="AAPL",
    interval="1m",
    start=START + 2 * MINUTE,
    end=START + 3 * MINUTE,
    state=wire.BAR_STATE_PARTIAL,
    filler=wire.FILLER_NO_FEED,
    coverage=wire.COVERAGE_NO_FEED,
)
BY_TRADES = wire.Bar(
    symbol='BRK/B "x"',
    interval="100t",
    start=START + 1,
    end=START + 1,
    number=3,
    open=1e-7,
    high=1e22,
    low=1e-7,
    close=100.0,
    volume=1,
    trades=100,
    vwap=0.1,
    state=wire.BAR_STATE_REVISED,
    revision=2,
)
BARS = [TRADED, FILLER, WITHOUT_PRICES, BY_TRADES]
SINGLE = BarsQuery("AAPL", "1m")
WITHOUT = BarsQuery("AAPL", "1m", fill=Fill.NULL)


def write_page(media_type: str, query: BarsQuery) -> bytes:
    return asyncio.run(encode_page(media_type, query, BARS, "next"))


def write_aggregates() -> str:
    documents = [aggregate_to_dict(AAPL), aggregate_to_dict(wire.Aggregate()), empty_aggregate("A")]
    return "".join(f"{encode_json(document).decode()}\n" for document in documents)


def write_json() -> str:
    return "".join(f"{write_page(JSON, each).decode()}\n" for each in (SINGLE, WITHOUT))


def write_csv() -> str:
    return "".join(write_page(CSV, each).decode() for each in (SINGLE, WITHOUT))


def write_arrow() -> str:
    with pyarrow.ipc.open_stream(write_page(ARROW, WITHOUT)) as reader:
        table = reader.read_all()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for name in table.column_names:
        column = table[name]
        writer.writerow([name, column.type, *column.cast("string").to_pylist()])
    return text.getvalue()


def write_graphql() -> str:
    lines = []
    for name in ("Aggregate", "Bar"):
        kind = build_schema().type_map[name]
        assert isinstance(kind, GraphQLObjectType)
        lines += [f"{name}.{each}: {field.type}\n" for each, field in kind.fields.items()]
    return "".join(lines)


def write_openapi() -> str:
    return "".join(
        f"{json.dumps(without_words(body.model_json_schema()), indent=1)}\n"
        for body in (AggregateBody, BarBody)
    )


def without_words(schema: Any) -> Any:
    if isinstance(schema, list):
        return [without_words(each) for each in schema]
    if isinstance(schema, dict):
        return {
            key: sorted(value) if key == "enum" else without_words(value)
            for key, value in schema.items()
            if not (key == "description" and isinstance(value, str))
        }
    return schema


FORMS: dict[str, Callable[[], str]] = {
    "aggregates.json": write_aggregates,
    "bars.json": write_json,
    "bars.csv": write_csv,
    "bars.arrow.csv": write_arrow,
    "graphql.txt": write_graphql,
    "openapi.json": write_openapi,
}


@pytest.mark.parametrize("name", FORMS)
def test_each_form_is_as_it_was_recorded(name: str) -> None:
    assert FORMS[name]().encode() == (RECORDED / name).read_bytes()


if __name__ == "__main__":
    for file, form in FORMS.items():
        (RECORDED / file).write_bytes(form().encode())
