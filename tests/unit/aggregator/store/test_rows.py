"""Rows of the store: what the table of fields makes of bars, and back."""

from __future__ import annotations

from math import isnan

from aggregator.bars.bar import Bar, BarState, Coverage
from aggregator.store.rows import place_of, rank_of, symbol_of, to_bar, to_message, to_row
from aggregator.store.schema import KEY, STAGED, bar_columns, bars, import_bars
from marketdata.fields import BAR_FIELDS
from marketdata.wire.market_data_pb2 import EXCLUDE_HIGH_LOW, EXCLUDE_LAST, EXCLUDE_OPEN
from tests.doubles.made_bars import make_bar


def unlike_bar() -> Bar:
    """Return a bar that has no default in any field."""
    bar = make_bar(3, "MSFT", prices=(10.1, 12.5, 9.7, 11.3), state=BarState.REVISED, revision=2)
    bar.number, bar.coverage, bar.phase = 4, Coverage.PARTIAL, "post"
    return bar


def test_a_bar_comes_back_from_its_row() -> None:
    bar = unlike_bar()
    found = to_bar(to_row(bar))
    assert to_row(found) == to_row(bar)
    assert (found.state, found.coverage) == (BarState.REVISED, Coverage.PARTIAL)
    assert isinstance(found.state, BarState)
    assert isinstance(found.coverage, Coverage)


def test_a_stored_bar_is_the_same_message_as_the_bar_in_memory() -> None:
    bar = unlike_bar()
    assert to_message(to_row(bar)) == bar.to_message(epoch=0)


def test_values_of_a_row_are_found_by_name() -> None:
    bar = unlike_bar()
    row = to_row(bar)
    assert symbol_of(row) == "MSFT"
    assert place_of(row) == (bar.start, 4)
    assert rank_of(row) == (2, BarState.REVISED, 4)


def test_every_stored_field_has_its_column_and_the_key_is_first() -> None:
    stored = {field.name for field in BAR_FIELDS if field.stored}
    columns = [column.name for column in bar_columns]
    assert {column.name for column in bars.columns} == {*columns, "imported"}
    assert set(columns) == stored
    assert tuple(columns[: len(KEY)]) == KEY
    assert [column.name for column in import_bars.columns] == ["import", *(f.name for f in STAGED)]


def test_prices_that_no_trade_gave_come_back_unknown() -> None:
    bar = unlike_bar()
    bar.candle.empty()
    bar.candle.take(10.0, 467, bar.start, 1, EXCLUDE_OPEN | EXCLUDE_HIGH_LOW | EXCLUDE_LAST)
    bar.candle.volume_decimals = 3
    row = to_row(bar)
    # SQLite has no NaN.
    assert all(value == value for value in row)  # noqa: PLR0124
    candle = to_bar(row).candle
    assert all(map(isnan, (candle.open, candle.high, candle.low, candle.close)))
    message = to_message(row)
    assert all(map(isnan, (message.open, message.high, message.low, message.close)))
    assert (message.volume, message.volume_decimals, message.vwap) == (467, 3, 10.0)
