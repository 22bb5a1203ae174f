"""A field stands in one table, and every form of aggregates and bars follows from it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest
import strawberry
from pydantic import ConfigDict, create_model

from gateway.bars.formats import arrow_columns
from gateway.encoding import build_aggregate_encoder, build_bar_encoder
from gateway.graphql.types import json_object
from gateway.rest.schemas import json_types
from marketdata.fields import AGGREGATE_FIELDS, BAR_FIELDS, Field, Kind, public_columns
from marketdata.wire import market_data_pb2 as wire
from scripts.fields import (
    PYTHON_TARGET,
    TARGET,
    write_class,
    write_interface,
    write_python,
    write_types,
)

MEDIAN = Field(name="median", kind=Kind.REAL, json="median", nullable=True, description="of prices")
NEW = public_columns([*BAR_FIELDS, MEDIAN])


@json_object(NEW, "A bar.")
class NewBar:
    """As the schema has Bar."""


@strawberry.type
class Query:
    bar: NewBar


def message(fields: tuple[Field, ...], **values: Any) -> Any:
    """Return what stands for a message that has every field of the table."""
    kinds: dict[Kind, Any] = {Kind.TEXT: "text", Kind.REAL: 1.5}
    known = {each.on_wire: kinds.get(each.kind, 1) for each in fields if each.on_wire}
    return SimpleNamespace(**{**known, **values})


def bar_row(**values: Any) -> dict[str, Any]:
    bar = message(BAR_FIELDS, median=2.5, **{"filler": 0, **values})
    return cast("dict[str, Any]", build_bar_encoder(NEW)(bar))


def test_a_new_field_of_a_bar_is_in_its_json_and_null_in_a_filler() -> None:
    assert list(bar_row().items())[-1] == ("median", 2.5)
    assert bar_row(filler=1)["median"] is None


def test_a_new_field_of_an_aggregate_is_in_its_json() -> None:
    encode = build_aggregate_encoder(public_columns([*AGGREGATE_FIELDS, MEDIAN]))
    assert encode(message(AGGREGATE_FIELDS, median=2.5))["median"] == 2.5


def test_a_new_field_is_a_column_of_arrow() -> None:
    column = arrow_columns(pa, NEW, [bar_row(), bar_row(filler=1)])["median"]
    assert (column.type, column.to_pylist()) == (pa.float64(), [2.5, None])


def test_a_new_field_is_described_by_openapi() -> None:
    types = {name: (kind, ...) for name, kind in json_types(NEW).items()}
    model = create_model("NewBar", __config__=ConfigDict(extra="forbid"), **cast("Any", types))
    schema = model.model_json_schema()
    assert schema["properties"]["median"]["description"] == "of prices"
    assert "median" in schema["required"]


def test_a_new_field_is_a_field_of_graphql() -> None:
    assert '"""of prices"""\n  median: Float\n' in strawberry.Schema(Query).as_str()


def test_a_new_field_is_a_property_in_typescript() -> None:
    lines = "".join(write_interface("NewBar", "A bar.", NEW))
    assert "  /** of prices */\n  readonly median: number | null;\n" in lines


def test_a_new_field_is_an_attribute_in_python() -> None:
    lines = "".join(write_class("NewBar", "A bar.", NEW))
    assert "    # of prices\n    median: float | None\n" in lines


def test_the_types_of_the_dashboard_are_current() -> None:
    assert TARGET.read_text() == write_types(), "run make fields"


def test_the_types_of_the_python_client_are_current() -> None:
    assert PYTHON_TARGET.read_text() == write_python(), "run make fields"


@pytest.mark.parametrize(
    ("name", "enum", "prefix"),
    [
        ("state", wire.BarState, "BAR_STATE_"),
        ("coverage", wire.Coverage, "COVERAGE_"),
        ("filler", wire.Filler, "FILLER_"),
    ],
)
def test_the_words_of_a_choice_are_those_of_the_proto(name: str, enum: Any, prefix: str) -> None:
    (field,) = [each for each in BAR_FIELDS if each.name == name]
    assert dict(field.choices) == {
        number: word.removeprefix(prefix).lower() for word, number in enum.items() if number
    }


@pytest.mark.parametrize(
    ("fields", "descriptor"),
    [(AGGREGATE_FIELDS, wire.Aggregate.DESCRIPTOR), (BAR_FIELDS, wire.Bar.DESCRIPTOR)],
)
def test_the_table_has_every_field_of_the_proto(fields: tuple[Field, ...], descriptor: Any) -> None:
    named = {each.on_wire for each in fields if each.on_wire}
    assert named == set(descriptor.fields_by_name)
