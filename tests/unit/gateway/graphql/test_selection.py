"""Selections that need no executor give what the executor gives."""

from __future__ import annotations

from typing import Any, cast

import pytest

from gateway.backend.client import AggregatorClient
from gateway.graphql.documents import DocumentLimits, Documents
from gateway.graphql.execution import Execution, Projection
from gateway.graphql.schema import build_schema
from gateway.graphql.selection import find_plain_selection
from gateway.hub.subscription import BufferLimits
from gateway.hub.updates import AggregateUpdate
from marketdata.wire.market_data_pb2 import Aggregate

SCHEMA = build_schema()
DOCUMENTS = Documents(SCHEMA, DocumentLimits(max_depth=5, max_aliases=10, max_tokens=200))
EXECUTION = Execution(
    SCHEMA,
    DOCUMENTS,
    cast("AggregatorClient", None),
    max_symbols=10,
    buffer_limits=BufferLimits(),
)
STATE = Aggregate(
    symbol="AAPL",
    open=150.25,
    high=1e22,
    low=-0.0,
    close=151.0,
    volume=2**62,
    timestamp=1_735_201_234_567_890_123,
    vwap=150.98743219873214,
    sequence=3,
    epoch=7,
)
WHOLE = (
    "symbol open high low close volume timestamp timestampNs trades vwap complete coverage "
    "refused sequence epoch"
)


def encodings(selection: str, state: Aggregate) -> tuple[bytes, bytes, bool]:
    """Return the encoding, the executor's encoding, and whether the selection is plain."""
    document = DOCUMENTS.parse(f"subscription {{ {selection} }}", None)
    DOCUMENTS.validate(document)
    source = EXECUTION.subscribe(document, None)
    update = AggregateUpdate(state.SerializeToString())
    by_executor = Projection(source.projection._executor).encode(update)
    result = source.projection.encode(update)
    EXECUTION.release(source)
    return result, by_executor, find_plain_selection(document.operation) is not None


@pytest.mark.parametrize(
    ("selection", "is_plain"),
    [
        (f'marketData(symbols: ["A"]) {{ {WHOLE} }}', True),
        ('quote: marketData(symbols: ["A"]) { last: close symbol name: symbol }', True),
        ('marketData(symbols: ["A"]) { close __typename }', False),
        ('marketData(symbols: ["A"]) { close ... on Aggregate { open } }', False),
        ('marketData(symbols: ["A"]) { close open @skip(if: true) }', False),
        ('marketData(symbols: ["A"]) { close symbol close }', False),
    ],
)
def test_a_plain_selection_is_encoded_as_by_the_executor(selection: str, is_plain: bool) -> None:
    result, by_executor, found = encodings(selection, STATE)
    assert result == by_executor
    assert found is is_plain


def test_an_unknown_price_is_null() -> None:
    state = Aggregate(symbol="A", close=float("nan"))
    result, by_executor, _ = encodings('marketData(symbols: ["A"]) { symbol close }', state)
    assert result == by_executor
    assert b'"close":null' in result


def test_the_executor_says_what_is_wrong_with_a_number() -> None:
    state = Aggregate(symbol="A", close=float("inf"))
    result, by_executor, _ = encodings('marketData(symbols: ["A"]) { symbol close }', state)
    assert b'"errors"' in result
    assert result == by_executor


def test_nothing_known_is_null() -> None:
    document = DOCUMENTS.parse('subscription { marketData(symbols: ["A"]) { symbol } }', None)
    source: Any = EXECUTION.subscribe(document, None)
    assert source.projection.encode(None) == b'"data":{"marketData":null}'
