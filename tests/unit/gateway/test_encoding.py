"""The JSON of every endpoint."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.encoding import AGGREGATE_KEYS, aggregate_to_dict, empty_aggregate, encode_json
from gateway.rest.schemas import AggregateBody
from marketdata.wire.market_data_pb2 import Aggregate

AAPL = Aggregate(
    symbol="AAPL",
    open=150.25,
    high=152.1,
    low=149.8,
    close=151.5,
    volume=1_000_000,
    timestamp=1_735_201_234_567_890_123,
    trades=4711,
    vwap=150.98,
    sequence=2**64 - 1,
    epoch=2**63,
)


def test_an_aggregate_is_the_designs_json_and_what_stands_beside_it() -> None:
    assert encode_json(aggregate_to_dict(AAPL)) == (
        b'{"symbol":"AAPL","open":150.25,"high":152.1,"low":149.8,"close":151.5,'
        b'"volume":"1000000","timestamp":"1735201234567",'
        b'"timestampNs":"1735201234567890123","trades":"4711","vwap":150.98,'
        b'"complete":false,"coverage":"partial","refused":"0",'
        b'"sequence":"18446744073709551615","epoch":"9223372036854775808"}'
    )


def test_the_empty_aggregate_is_the_symbol_and_nulls() -> None:
    assert encode_json(empty_aggregate("BRK/B")) == (
        b'{"symbol":"BRK/B","open":null,"high":null,"low":null,"close":null,"volume":null,'
        b'"timestamp":null,"timestampNs":null,"trades":null,"vwap":null,"complete":null,'
        b'"coverage":null,"refused":null,"sequence":null,"epoch":null}'
    )


def test_the_empty_aggregate_has_the_fields_of_a_full_one_in_the_same_order() -> None:
    assert tuple(empty_aggregate("A")) == tuple(aggregate_to_dict(AAPL)) == AGGREGATE_KEYS


@pytest.mark.parametrize("document", [aggregate_to_dict(AAPL), empty_aggregate("AAPL")])
def test_what_is_encoded_is_what_openapi_describes(document: dict[str, object]) -> None:
    assert tuple(AggregateBody.model_fields) == AGGREGATE_KEYS
    AggregateBody.model_validate(document, strict=True)


@pytest.mark.parametrize(
    ("price", "text"),
    [(0.1, b"0.1"), (100.0, b"100.0"), (1e-7, b"1e-7"), (1e22, b"1e+22"), (167.41, b"167.41")],
)
def test_prices_are_printed_in_their_shortest_form(price: float, text: bytes) -> None:
    body = encode_json(aggregate_to_dict(Aggregate(symbol="A", open=price)))
    assert b'"open":' + text + b"," in body


@given(st.floats(min_value=5e-324, allow_nan=False, allow_infinity=False))
def test_prices_read_back_the_same(price: float) -> None:
    body = encode_json(aggregate_to_dict(Aggregate(symbol="A", close=price)))
    assert json.loads(body)["close"] == price


@pytest.mark.parametrize(
    ("ts_ns", "ms"),
    [(0, "0"), (999_999, "0"), (1_000_000, "1"), (2**63 - 1, "9223372036854")],
)
def test_timestamps_are_whole_milliseconds(ts_ns: int, ms: str) -> None:
    document = aggregate_to_dict(Aggregate(symbol="A", timestamp=ts_ns))
    assert (document["timestamp"], document["timestampNs"]) == (ms, str(ts_ns))
