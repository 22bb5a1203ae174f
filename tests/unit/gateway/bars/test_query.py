"""What can be asked of history, and what the refusal says."""

from __future__ import annotations

import pytest

from gateway.bars.query import BarsQuery, Fill, parse_range
from gateway.errors import InvalidInput
from marketdata.wire import market_data_pb2 as wire


def fields_of(error: InvalidInput) -> list[str]:
    return [each.field for each in error.errors]


def test_a_query_becomes_the_request_to_the_aggregator() -> None:
    times = parse_range("5m", start="1735201200000", end="2024-12-26T09:20:00Z", limit=10)
    query = BarsQuery("AAPL", "5m", *times, 10, "c", Fill.PREV, include_partial=True)
    request = query.to_request()
    assert getattr(request, "from") == 1_735_201_200_000_000_000
    assert request.to == 1_735_204_800_000_000_000
    assert (request.symbol, request.interval, request.limit) == ("AAPL", "5m", 10)
    assert (request.cursor, request.include_partial) == ("c", True)
    assert request.fill == wire.FILL_ALL


def test_what_is_not_said_is_not_sent() -> None:
    request = BarsQuery("AAPL", "1m", *parse_range("1m", start="", end=None)).to_request()
    assert not request.HasField("from")
    assert not request.HasField("to")
    assert (request.limit, request.fill) == (1000, wire.FILL_NONE)


def test_zero_is_a_time() -> None:
    times = parse_range("1m", start="0", end=None)
    assert BarsQuery("AAPL", "1m", *times).to_request().HasField("from")


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_range("7m", start="12", end="x", limit=10_001)
    assert fields_of(caught.value) == ["interval", "from", "to", "limit"]
    assert "1s 1m 5m 15m 1h 1d" in str(caught.value)
    assert "10001 is not between 1 and 10000" in str(caught.value)


@pytest.mark.parametrize("end", ["1735201200000", "1735201199999"])
def test_a_range_must_not_be_empty(end: str) -> None:
    with pytest.raises(InvalidInput, match=f"from: 1735201200000 is not before to, {end}"):
        parse_range("1m", start="1735201200000", end=end)
