"""What a whole column gives is what each of its texts gives, to the last digit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.decimals import plain_decimal
from marketdata.files.columns import Prices, Sizes, read_column
from marketdata.files.times import Counted, Epoch, OfDay, Times, Written
from marketdata.sizes import parse_size

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
plain_numbers = st.from_regex(r"\A[0-9]{0,12}(\.[0-9]{0,12})?\Z")
odd_numbers = st.one_of(
    st.from_regex(r"\A[-+]?[0-9]{1,22}(\.[0-9]{0,22})?([eE][-+]?[0-9]{1,3})?\Z"),
    st.sampled_from(["", " 5", "5 ", "1_0", "0x10", "nan", "inf", "-0", "٣", ".", "1,5", "1.2.3"]),
)
numbers = st.lists(st.one_of(plain_numbers, odd_numbers), max_size=200)


def each(texts: list[str], plain: Any) -> tuple[list[Any], dict[int, str]]:
    values, problems = [], {}
    for place, text in enumerate(texts):
        try:
            values.append(plain(text))
        except ValueError as exc:
            values.append(None)
            problems[place] = str(exc)
    return values, problems


def whole(texts: list[str], reader: Any, shape: tuple[int, ...], kind: Any) -> Any:
    out = np.zeros((len(texts), *shape), kind)
    problems = read_column(pa.array(texts, pa.string()), reader.read_all, reader.read, out)
    values = [tuple(value) if shape else value for value in out.tolist()]
    return [None if n in problems else value for n, value in enumerate(values)], problems


@given(numbers)
def test_sizes(texts: list[str]) -> None:
    reader = Sizes()
    assert whole(texts, reader, (2,), np.int64) == each(texts, reader.read)


@given(numbers, st.sampled_from([0, 4, 9]))
def test_prices(texts: list[str], decimals: int) -> None:
    reader = Prices(decimals)
    assert whole(texts, reader, (), np.float64) == each(texts, reader.read)


@given(st.lists(st.one_of(plain_numbers, st.from_regex(r"\A-?[0-9]{1,9},[0-9]{1,9}\Z"))))
def test_numbers_with_decimal_commas(texts: list[str]) -> None:
    sizes, prices = Sizes(comma=True), Prices(comma=True)
    assert whole(texts, sizes, (2,), np.int64) == each(texts, sizes.read)
    assert whole(texts, prices, (), np.float64) == each(texts, prices.read)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=None))
def test_a_size_is_the_decimal_or_refused(number: Decimal) -> None:
    try:
        volume, decimals = parse_size(str(number))
    except ValueError:
        units = number.normalize().as_tuple()
        assert abs(number) >= 2**63 - 1 or int(units.exponent) < -18 or len(units.digits) >= 19
        return
    assert Decimal(volume).scaleb(-decimals) == number
    assert 0 <= decimals <= 18
    assert decimals == 0 or volume % 10
    assert Decimal(plain_decimal(volume, decimals)) == number


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0.467", (467, 3)),
        ("27.00000000", (27, 0)),
        ("1E+6", (1_000_000, 0)),
        ("1e-18", (1, 18)),
        ("-2.50", (-25, 1)),
        ("0.000", (0, 0)),
        ("9223372036854775807", (2**63 - 1, 0)),
    ],
)
def test_sizes_as_files_have_them(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["1e-19", "9223372036854775808", "1E+999999999", "1E-999999999"])
def test_a_size_that_does_not_fit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"above|decimals"):
        parse_size(text)


epoch_texts = st.lists(
    st.one_of(
        st.integers(10**8, 9 * 10**9).map(str),
        st.integers(10**11, 9 * 10**12).map(str),
        st.integers(10**17, 2**63).map(str),
        st.from_regex(r"\A1[0-9]{9}\.[0-9]{0,12}\Z"),
        odd_numbers,
    ),
    max_size=200,
)


@given(epoch_texts)
def test_numeric_times(texts: list[str]) -> None:
    reader: Times
    for reader in (Epoch(), Counted()):
        assert whole(texts, reader, (), np.int64) == each(texts, reader.read)


@given(st.lists(st.one_of(st.from_regex(r"\A[0-9]{1,6}(\.[0-9]{0,11})?\Z"), odd_numbers)))
def test_seconds_of_a_day(texts: list[str]) -> None:
    reader = OfDay("20241103", "America/New_York")
    assert whole(texts, reader, (), np.int64) == each(texts, reader.read)


moments = st.datetimes(datetime(1975, 1, 1), datetime(2200, 1, 1))
shapes = st.sampled_from(
    [
        ("ymd", "%Y-%m-%dT%H:%M:%S"),
        ("ymd", "%Y%m%d %H%M%S"),
        ("ymd", "%Y.%m.%d %H:%M:%S"),
        ("dmy", "%d.%m.%Y %H:%M:%S"),
        ("mdy", "%m/%d/%Y %H:%M:%S"),
    ]
)


@given(
    st.lists(st.tuples(moments, st.integers(0, 10**9 - 1)), min_size=1, max_size=100),
    shapes,
    st.sampled_from(["UTC", "America/New_York", "Europe/Athens", "Asia/Kolkata"]),
    st.sampled_from(["", "Z", "+05:30", "-0800"]),
)
def test_written_times(
    found: list[tuple[datetime, int]], shape: tuple[Any, str], zone: str, suffix: str
) -> None:
    order, pattern = shape
    texts = [f"{moment.strftime(pattern)}.{ns:09}{suffix}" for moment, ns in found]
    texts.append("never")
    reader = Written(order, zone, has_zone=bool(suffix))
    values, problems = whole(texts, reader, (), np.int64)
    assert (values, problems) == each(texts, reader.read)
    offset = {"Z": "+0000", "": ""}.get(suffix, suffix)
    for place, (moment, ns) in enumerate(found):
        at = moment.replace(microsecond=0)
        if offset:
            at = datetime.strptime(f"{at:%Y%m%d%H%M%S}{offset}", "%Y%m%d%H%M%S%z")
        else:
            at = at.replace(tzinfo=ZoneInfo(zone))
            if place in problems:
                assert at.utcoffset() != at.replace(fold=1).utcoffset()
                continue
        assert values[place] == (at - EPOCH) // timedelta(seconds=1) * 10**9 + ns


def test_an_hour_that_is_twice_is_refused_by_name() -> None:
    reader = Written("ymd", "America/New_York", has_zone=False)
    with pytest.raises(ValueError, match="twice or never on that day in America/New_York"):
        reader.read("2025-11-02 01:30:00")
    with pytest.raises(ValueError, match="twice or never"):
        reader.read("2025-03-09 02:30:00")
