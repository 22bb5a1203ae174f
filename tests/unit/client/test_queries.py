"""What is asked for what: pages, times and paths."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest

from marketdata.client.errors import InvalidArgument
from marketdata.client.options import check_options
from marketdata.client.queries import BarsQuery, aggregate_path
from marketdata.client.times import format_time, to_datetime

NS = 1_735_201_200_000_000_000
MOMENT = datetime(2024, 12, 26, 8, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (MOMENT, str(NS)),
        (MOMENT.astimezone(timezone(timedelta(hours=-5))), str(NS)),
        (pd.Timestamp(NS + 1, tz="America/New_York"), str(NS + 1)),
        (np.datetime64("2024-12-26T08:20:00"), str(NS)),
        (np.int64(NS // 10**6), str(NS // 10**6)),
        (NS, str(NS)),
        ("2024-12-26T08:20:00Z", "2024-12-26T08:20:00Z"),
    ],
)
def test_a_time_in_any_form_is_the_same_time(value: Any, text: str) -> None:
    assert format_time("start", value) == text


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (datetime(2024, 12, 26), "has no time zone"),
        (pd.NaT, "has no time zone"),
        (np.datetime64("NaT"), "is NaT"),
        (1.5, "must be a datetime"),
        (None, "must be a datetime"),
    ],
)
def test_what_is_no_time_is_refused_by_name(value: Any, says: str) -> None:
    with pytest.raises(InvalidArgument, match=f"start .*{says}"):
        format_time("start", value)


def test_a_datetime_is_cut_to_the_microsecond() -> None:
    assert to_datetime(NS + 1_999) == MOMENT + timedelta(microseconds=1)


def query(**given: Any) -> BarsQuery:
    usual: dict[str, Any] = {
        "start": None,
        "end": None,
        "limit": None,
        "fill": "none",
        "include_partial": False,
    }
    return BarsQuery("AAPL", "1m", **{**usual, **given})


def pages(asked: BarsQuery, *sizes: int) -> list[Any]:
    """Return what is asked for each page; all but the last have a cursor."""
    seen = []
    for number, size in enumerate(sizes, 1):
        page = asked.next_page()
        assert page is not None
        seen.append(page)
        cursor = None if number == len(sizes) else f"c{number}"
        asked.take({"bars": [{}] * size, "nextCursor": cursor})
    assert asked.next_page() is None
    return seen


def test_without_limits_all_bars_are_asked_for_page_by_page() -> None:
    first, second = pages(query(), 10_000, 3)
    assert first == {
        "symbol": "AAPL",
        "interval": "1m",
        "fill": "none",
        "from": "0",
        "limit": "10000",
    }
    assert second == {**first, "cursor": "c1"}


def test_a_limit_without_a_start_is_for_the_last_bars() -> None:
    (only,) = pages(query(limit=5), 5)
    assert (only.get("from"), only["limit"]) == (None, "5")


def test_a_limit_with_a_start_is_for_the_first_bars() -> None:
    asked = query(start=NS, limit=10_005)
    assert asked.next_page() == {
        "symbol": "AAPL",
        "interval": "1m",
        "fill": "none",
        "from": str(NS),
        "limit": "10000",
    }
    asked.take({"bars": [{}] * 10_000, "nextCursor": "c"})
    page = asked.next_page()
    assert page is not None
    assert page["limit"] == "5"
    asked.take({"bars": [{}] * 5, "nextCursor": "d"})
    assert asked.next_page() is None


@pytest.mark.parametrize(
    ("limit", "says"), [(0, "1 or more"), (-1, "1 or more"), (True, "1 or"), (10_001, "a start")]
)
def test_a_limit_that_cannot_be_kept_is_refused(limit: int, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        query(limit=limit)


@pytest.mark.parametrize(
    ("symbol", "path"),
    [
        ("AAPL", "api/v1/marketdata/AAPL"),
        ("A B?#%", "api/v1/marketdata/A%20B%3F%23%25"),
        ("BRK/B", None),
        ("..", None),
        (".", None),
        (" ", None),
    ],
)
def test_a_symbol_that_a_path_cannot_carry_is_asked_for_in_a_list(
    symbol: str, path: str | None
) -> None:
    assert aggregate_path(symbol) == path


@pytest.mark.parametrize(
    ("url", "base", "stream"),
    [
        ("http://h:8080", "http://h:8080/", "ws://h:8080/api/v1/stream"),
        ("https://h/market", "https://h/market/", "wss://h/market/api/v1/stream"),
        ("http://[::1]:1/", "http://[::1]:1/", "ws://[::1]:1/api/v1/stream"),
    ],
)
def test_the_address_may_have_a_path_prefix(url: str, base: str, stream: str) -> None:
    options = check_options(url, {})
    assert (options.url, options.stream_url) == (base, stream)


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://h", "http://", "http://h:99999", "h?x"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgument, match="url must be like http://localhost:8080"):
        check_options(url, {})


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="unknown option 'timeout'"):
        check_options("http://h", {"timeout": 1})  # type: ignore[typeddict-unknown-key]
    with pytest.raises(InvalidArgument, match="deadline_s must be seconds above 0"):
        check_options("http://h", {"deadline_s": 0})
