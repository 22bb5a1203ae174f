"""Fields are found by paths, in messages of any shape."""

from __future__ import annotations

import json

import pytest

from connect.errors import BadTrade, SourceFailed
from connect.mapping import FieldMap


def test_usual_names_need_no_map() -> None:
    record = {
        "symbol": " A ",
        "price": "1.5",
        "volume": "10",
        "timestamp": "1790000000000",
        "id": 7,
    }
    trade = FieldMap().read(record)
    assert trade is not None
    assert trade.symbol == "A"
    assert (trade.price, trade.volume, trade.ts_ns) == (1.5, 10, 1_790_000_000 * 10**9)
    assert trade.trade_id == b"7"


def test_paths_lead_through_lists_and_from_the_root() -> None:
    text = '{"s": "ETHUSDT", "data": {"k": [{"x": [1.10, "0.50"], "T": 1790000000}]}}'
    message = json.loads(text, parse_float=str)
    fields = FieldMap("symbol=/s,price=x.0,size=x.1,time=T", each="data.k")
    (record,) = fields.records(message)
    trade = fields.read(record, message)
    assert trade is not None
    assert (trade.symbol, trade.price, trade.volume, trade.decimals) == ("ETHUSDT", 1.1, 5, 1)


def test_a_column_may_have_a_point_in_its_name() -> None:
    fields = FieldMap("price=last.price", symbol="A")
    trade = fields.read({"last.price": "2", "size": "1", "time": "1790000000"})
    assert trade is not None
    assert trade.price == 2.0


def test_prefixes_stand_before_symbols_and_ids() -> None:
    fields = FieldMap(symbol="A", symbol_prefix="X:", id_prefix="x-")
    trade = fields.read({"price": "2", "size": "1", "time": "1790000000"}, None, "9")
    assert trade is not None
    assert (trade.symbol, trade.trade_id) == ("X:A", b"x-9")


def test_a_message_without_price_and_size_is_no_trade() -> None:
    assert FieldMap().read({"event": "heartbeat"}) is None
    assert list(FieldMap(each="data").records({"event": "heartbeat"})) == []


@pytest.mark.parametrize(
    ("record", "field"),
    [
        ({"price": "1", "size": "1", "time": "1790000000"}, "symbol"),
        (
            {"symbol": "A*", "price": "1", "size": "1", "time": "1790000000"},
            r"symbol 'A\*' must be",
        ),
        ({"symbol": "\ud800", "price": "1", "size": "1", "time": "1790000000"}, "symbol"),
        ({"symbol": "A" * 65, "price": "1", "size": "1", "time": "1790000000"}, "symbol"),
        ({"symbol": "A", "size": "1", "time": "1790000000"}, "price"),
        ({"symbol": "A", "price": "1", "time": "1790000000"}, "size"),
        ({"symbol": "A", "price": "1", "size": "1"}, "time"),
        ({"symbol": "A", "price": "one", "size": "1", "time": "1790000000"}, "price"),
    ],
)
def test_a_field_that_is_missing_or_wrong_is_named(record: dict[str, str], field: str) -> None:
    with pytest.raises(BadTrade, match=field):
        FieldMap().read(record)


@pytest.mark.parametrize("text", ["price", "price=", "cost=p"])
def test_a_map_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SourceFailed, match="fields are symbol, price, size, time, id"):
        FieldMap(text)


def test_an_id_of_half_a_character_is_an_id() -> None:
    record = {"symbol": "A", "price": "1", "size": "1", "time": "1790000000", "id": "\ud800"}
    trade = FieldMap().read(record)
    assert trade is not None
    assert trade.trade_id == b"\\ud800"
