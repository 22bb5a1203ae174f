"""Numbers and times of sources are read exactly."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect.errors import BadTrade
from connect.exchanges.trades import read_trade
from connect.trades import make_id, read_price, read_size, read_time


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0.467", (467, 3)),
        ("27.00000000", (27, 0)),
        ("1E+6", (1_000_000, 0)),
        ("1e-8", (1, 8)),
        ("0", (0, 0)),
        ("0.000", (0, 0)),
        ("-2.50", (-25, 1)),
        (100, (100, 0)),
        ("9223372036854775807", (2**63 - 1, 0)),
        ("0.000000000000000001", (1, 18)),
    ],
)
def test_a_size_is_a_whole_number_and_its_decimals(text: object, size: tuple[int, int]) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "1_000", "nan", "inf", "0x10", "٣", "1" * 65, "9223372036854775808", "1e-19", True, None],
)
def test_what_is_no_size_is_refused_by_name(text: object) -> None:
    with pytest.raises(BadTrade, match="size"):
        read_size(text)


@given(st.integers(0, 2**63 - 1), st.integers(0, 18))
def test_any_size_comes_back_to_the_last_digit(volume: int, decimals: int) -> None:
    value = Decimal(volume).scaleb(-decimals)
    read, scale = read_size(format(value, "f"))
    assert Decimal(read).scaleb(-scale) == value
    assert scale == 0 or read % 10
    assert read_size(str(value)) == (read, scale)


@given(st.floats(min_value=1e-300, max_value=1e300))
def test_a_price_is_the_nearest_double(price: float) -> None:
    assert read_price(repr(price)) == price


@pytest.mark.parametrize(
    ("text", "ts_ns"),
    [
        (1_790_000_000, 1_790_000_000 * 10**9),
        ("1790000000123", 1_790_000_000_123_000_000),
        ("1541390792.7634561", 1_541_390_792_763_456_100),
        ("2023-09-25T07:49:37.708706Z", 1_695_628_177_708_706_000),
        ("2023-09-25 09:49:37.708706789123+02:00", 1_695_628_177_708_706_789),
    ],
)
def test_a_time_is_read_to_the_nanosecond(text: object, ts_ns: int) -> None:
    assert read_time(text) == ts_ns


@pytest.mark.parametrize(
    "text", ["2023-09-25T07:49:37", "2023-02-30T00:00:00Z", "today", 0, "1e99"]
)
def test_what_is_no_time_is_refused(text: object) -> None:
    with pytest.raises(BadTrade, match="time"):
        read_time(text)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)))
def test_any_iso_time_is_read_to_the_microsecond(at: datetime) -> None:
    at = at.replace(tzinfo=UTC)
    microseconds = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert read_time(at.isoformat(timespec="microseconds")) == microseconds * 1_000


def test_an_id_that_is_too_long_is_hashed() -> None:
    assert make_id("a" * 64) == b"a" * 64
    assert len(make_id("a" * 65)) == 32
    assert make_id("a" * 65) != make_id("a" * 66)


def test_a_trade_of_ccxt_keeps_the_digits_below_the_millisecond() -> None:
    raw = {
        "id": "83449369",
        "amount": "0.04561994",
        "price": "109601.2",
        "timestamp": 1_748_345_043_847,
        "datetime": "2025-05-27T11:24:03.847761Z",
        "info": {},
    }
    place, trade = read_trade(raw, "BTC-USD", "")
    assert place.ts_ns == trade.ts_ns == 1_748_345_043_847_761_000
    assert (trade.volume, trade.decimals, trade.trade_id) == (4_561_994, 8, b"83449369")


@pytest.mark.parametrize("missing", ["amount", "price", "timestamp"])
def test_a_trade_of_ccxt_without_a_field_is_refused(missing: str) -> None:
    raw = {"id": "1", "amount": "1", "price": "1", "timestamp": 1_748_345_043_847, "info": {}}
    with pytest.raises(BadTrade):
        read_trade(raw | {missing: None}, "BTC-USD", "")


def test_a_trade_of_ccxt_without_an_id_is_sent_without_one() -> None:
    raw: dict[str, object] = {
        "id": None,
        "amount": "1",
        "price": "1",
        "timestamp": 1_748_345_043_847,
        "info": {},
    }
    place, trade = read_trade(raw, "BTC-USD", "x-")
    assert (place.id, trade.trade_id) == ("", b"")
