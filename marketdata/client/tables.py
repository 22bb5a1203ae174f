"""Make tables of Arrow, polars and pandas of columns of JSON values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from importlib import import_module
from typing import Any

import numpy as np

from marketdata.client.columns import attribute_of
from marketdata.client.errors import MissingExtra
from marketdata.fields import Kind, PublicColumn
from marketdata.validation import MAX_VOLUME_DECIMALS

Columns = Mapping[str, Sequence[Any]]

# Every size fits: at most 19 digits, of which at most 18 are decimals. One type for all, so that
# tables of several symbols can be joined.
DECIMAL_PRECISION, DECIMAL_SCALE = 38, MAX_VOLUME_DECIMALS


def load(package: str, extra: str) -> Any:
    """Return an optional package.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return import_module(package)
    except ImportError as exc:
        raise MissingExtra(package, extra) from exc


def arrow_table(columns: Sequence[PublicColumn], values: Columns) -> Any:
    """Return a table of Arrow.

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    arrow = load("pyarrow", "arrow")
    types = {
        Kind.TEXT: arrow.string(),
        Kind.CHOICE: arrow.string(),
        Kind.REAL: arrow.float64(),
        Kind.COUNT: arrow.int64(),
        Kind.POSITION: arrow.uint64(),
        Kind.NUMBER: arrow.int64(),
        Kind.TIME: arrow.int64(),
        Kind.FLAG: arrow.bool_(),
    }
    arrays = {}
    for name, column, json in _named(columns, values):
        kind = column.field.kind
        if kind is Kind.SIZE:
            size = arrow.decimal128(DECIMAL_PRECISION, DECIMAL_SCALE)
            arrays[name] = arrow.array(map(_decimal, json), size)
        elif kind in {Kind.COUNT, Kind.POSITION, Kind.TIME}:
            arrays[name] = arrow.array(json, arrow.string()).cast(types[kind])
            if kind is Kind.TIME:
                arrays[name] = arrays[name].cast(arrow.timestamp("ns", "UTC"))
        else:
            arrays[name] = arrow.array(json, types[kind])
    return arrow.table(arrays)


def polars_frame(columns: Sequence[PublicColumn], values: Columns) -> Any:
    """Return a data frame of polars.

    Raises:
        MissingExtra: polars is not installed.
    """
    polars = load("polars", "polars")
    types = {
        Kind.TEXT: polars.String,
        Kind.CHOICE: polars.String,
        Kind.REAL: polars.Float64,
        Kind.COUNT: polars.Int64,
        Kind.POSITION: polars.UInt64,
        Kind.NUMBER: polars.Int64,
        Kind.TIME: polars.Int64,
        Kind.FLAG: polars.Boolean,
    }
    series = []
    for name, column, json in _named(columns, values):
        kind = column.field.kind
        if kind is Kind.SIZE:
            size = polars.Decimal(DECIMAL_PRECISION, DECIMAL_SCALE)
            made = polars.Series(name, list(map(_decimal, json)), size)
        elif kind in {Kind.COUNT, Kind.POSITION, Kind.TIME}:
            made = polars.Series(name, json, polars.String).cast(types[kind])
            if kind is Kind.TIME:
                made = made.cast(polars.Datetime("ns", "UTC"))
        else:
            made = polars.Series(name, json, types[kind])
        series.append(made)
    return polars.DataFrame(series)


def pandas_frame(columns: Sequence[PublicColumn], values: Columns) -> Any:
    """Return a data frame of pandas.

    Raises:
        MissingExtra: pandas is not installed.
    """
    pandas = load("pandas", "pandas")
    made: dict[str, Any] = {}
    for name, column, json in _named(columns, values):
        kind = column.field.kind
        if kind is Kind.SIZE:
            made[name] = pandas.Series(list(map(_decimal, json)), dtype=object)
        elif kind is Kind.TIME:
            times = np.array(list(map(int, json)), np.int64).astype("datetime64[ns]")
            made[name] = pandas.Series(times).dt.tz_localize("UTC")
        elif kind in {Kind.TEXT, Kind.CHOICE}:
            made[name] = pandas.Series(json, dtype="string")
        elif kind is Kind.REAL:
            made[name] = np.array(json, np.float64)
        elif kind is Kind.FLAG:
            made[name] = np.array(json, np.bool_)
        else:
            numbers = np.uint64 if kind is Kind.POSITION else np.int64
            made[name] = np.array(list(map(int, json)), numbers)
    return pandas.DataFrame(made)


def _named(
    columns: Sequence[PublicColumn], values: Columns
) -> Iterator[tuple[str, PublicColumn, Sequence[Any]]]:
    # Each column with its name in a table, where a time needs no unit in its name.
    for column in columns:
        yield attribute_of(column).removesuffix("_ns"), column, values[column.name]


def _decimal(digits: str | None) -> Decimal | None:
    return None if digits is None else Decimal(digits)
