"""Bars as plain objects and as tables: every number exact, whatever the library."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.encoding import bar_to_dict
from marketdata.client import Bars, MissingExtra
from marketdata.wire import market_data_pb2 as wire

START = 1_735_201_200_000_000_001


def row(**fields: Any) -> dict[str, Any]:
    bar = wire.Bar(
        symbol="AAPL",
        interval="1m",
        start=START,
        end=START + 60 * 10**9,
        open=150.25,
        high=152.1,
        low=149.8,
        close=151.5,
        vwap=150.98,
        volume=1_000_000,
        trades=4711,
        state=wire.BAR_STATE_FINAL,
        coverage=wire.COVERAGE_FULL,
        sequence=2**64 - 1,
        epoch=7,
    )
    return {**bar_to_dict(bar), **fields}


def test_a_bar_has_exact_sizes_and_times_with_a_zone() -> None:
    bar = Bars("AAPL", "1m", [row(volume="0.467")])[0]
    assert (bar.volume, bar.trades, bar.sequence) == (Decimal("0.467"), 4711, 2**64 - 1)
    assert bar.start_ns == START
    assert bar.start == datetime(2024, 12, 26, 8, 20, tzinfo=UTC)
    assert (bar.open, bar.filler, bar.complete) == (150.25, None, True)


def test_bars_are_a_sequence() -> None:
    bars = Bars("AAPL", "1m", [row(number=n) for n in range(3)])
    assert [bar.number for bar in bars] == [0, 1, 2]
    assert [bar.number for bar in bars[1:]] == [1, 2]
    assert (len(bars), bars[-1].number) == (3, 2)
    assert repr(bars) == ("<3 bars of AAPL 1m, 2024-12-26 08:20:00 to 2024-12-26 08:20:00 UTC>")
    assert repr(Bars("AAPL", "1m")) == "<no bars of AAPL 1m>"


SIZES = st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 18)).map(
    lambda size: Decimal(size[0]).scaleb(-size[1])
)


@given(st.lists(SIZES, max_size=5))
def test_each_library_has_the_same_sizes_to_the_last_digit(sizes: list[Decimal]) -> None:
    bars = Bars("AAPL", "1m", [row(volume=format(size, "f")) for size in sizes])
    assert [bar.volume for bar in bars] == sizes
    assert bars.to_arrow()["volume"].to_pylist() == sizes
    assert bars.to_polars()["volume"].to_list() == sizes
    assert list(bars.to_pandas()["volume"]) == sizes


def test_times_have_nanoseconds_and_a_zone_in_each_library() -> None:
    bars = Bars("AAPL", "1m", [row()])
    assert bars.to_arrow()["start"].type == pa.timestamp("ns", "UTC")
    assert bars.to_arrow()["start"][0].value == START
    assert bars.to_polars().schema["start"] == pl.Datetime("ns", "UTC")
    assert bars.to_polars()["start"].dt.epoch("ns")[0] == START
    frame = bars.to_pandas()
    assert frame.index.name == "start"
    assert frame.index[0] == pd.Timestamp(START, unit="ns", tz="UTC")
    assert frame["end"].iloc[0].value == START + 60 * 10**9


def test_each_library_has_every_field_under_its_name_in_python() -> None:
    bars = Bars("AAPL", "1m", [row(filler="no_trades", vwap=None, open=None)])
    names = [name.removesuffix("_ns") for name in bars[0].__slots__]
    assert bars.to_arrow().column_names == names
    assert bars.to_polars().columns == names
    assert bars.to_pandas().reset_index().columns.to_list() == [
        "start",
        *(name for name in names if name != "start"),
    ]
    polars, pandas = bars.to_polars().row(0, named=True), bars.to_pandas().iloc[0]
    for name in names:
        if name in {"start", "end"}:
            continue
        value = getattr(bars[0], name)
        assert polars[name] == value
        assert bars.to_arrow()[name][0].as_py() == value
        assert pd.isna(pandas[name]) if value is None else pandas[name] == value, name


def test_without_bars_the_columns_have_the_same_types() -> None:
    none, some = Bars("AAPL", "1m"), Bars("AAPL", "1m", [row()])
    assert none.to_arrow().schema == some.to_arrow().schema
    assert none.to_polars().schema == some.to_polars().schema
    assert none.to_pandas().dtypes.equals(some.to_pandas().dtypes)
    assert none.to_pandas().index.dtype == some.to_pandas().index.dtype


@pytest.mark.parametrize(
    ("package", "call", "extra"),
    [
        ("pyarrow", "to_arrow", "arrow"),
        ("polars", "to_polars", "polars"),
        ("pandas", "to_pandas", "pandas"),
    ],
)
def test_a_library_that_is_not_installed_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, package: str, call: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra) as caught:
        getattr(Bars("AAPL", "1m", [row()]), call)()
    said = f"{package} is not installed: pip install 'market-data-server[{extra}]'"
    assert str(caught.value) == said
    assert isinstance(caught.value, ImportError)


def test_a_key_that_an_older_gateway_does_not_send_is_none() -> None:
    shorter = row()
    del shorter["refused"], shorter["phase"]
    bar: Any = Bars("AAPL", "1m", [shorter])[0]
    assert (bar.refused, bar.phase) == (None, None)
