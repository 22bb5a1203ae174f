"""What the names of intervals mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.intervals import (
    NS_PER_DAY,
    Interval,
    IntervalKind,
    InvalidInterval,
    not_live,
    parse_interval,
)
from marketdata.timestamps import NS_PER_S


@pytest.mark.parametrize(
    ("name", "kind", "size"),
    [
        ("1s", IntervalKind.TIME, NS_PER_S),
        ("30s", IntervalKind.TIME, 30 * NS_PER_S),
        ("1m", IntervalKind.TIME, 60 * NS_PER_S),
        ("15m", IntervalKind.TIME, 900 * NS_PER_S),
        ("1h", IntervalKind.TIME, 3600 * NS_PER_S),
        ("12h", IntervalKind.TIME, 12 * 3600 * NS_PER_S),
        ("43200s", IntervalKind.TIME, 43200 * NS_PER_S),
        ("1d", IntervalKind.DAY, 1),
        ("1t", IntervalKind.TICK, 1),
        ("100t", IntervalKind.TICK, 100),
        ("10000v", IntervalKind.VOLUME, 10_000),
        ("1000000n", IntervalKind.NOTIONAL, 1_000_000),
        ("3d", IntervalKind.DAYS, 3),
        ("1w", IntervalKind.WEEKS, 1),
        ("1M", IntervalKind.MONTHS, 1),
        ("3M", IntervalKind.MONTHS, 3),
        ("100y", IntervalKind.YEARS, 100),
        ("999999999999999999v", IntervalKind.VOLUME, 10**18 - 1),
    ],
)
def test_an_interval_is_its_number_and_unit(name: str, kind: IntervalKind, size: int) -> None:
    assert parse_interval(name) == Interval(name, kind, size)


@pytest.mark.parametrize(
    ("name", "kind", "size", "decimals"),
    [
        ("0.5v", IntervalKind.VOLUME, 5, 1),
        ("12.25v", IntervalKind.VOLUME, 1225, 2),
        ("0.00000001v", IntervalKind.VOLUME, 1, 8),
        ("2500.5n", IntervalKind.NOTIONAL, 25005, 1),
        ("0.12345678901234567v", IntervalKind.VOLUME, 12345678901234567, 17),
    ],
)
def test_a_volume_and_an_amount_may_have_a_fraction(
    name: str, kind: IntervalKind, size: int, decimals: int
) -> None:
    assert parse_interval(name) == Interval(name, kind, size, decimals)


@pytest.mark.parametrize(
    "name",
    [
        "", "1", "m", "1D", "0s", "01m", "-1m", "+1m", " 1m", "1m ", "1m\n", "1.5m", "1 m", "1W",
        "7s",  # the last bar of a day would be cut
        "7h", "24h", "86400s", "1440m", "48h", "101y", "36526d", "0d",
        "1000000000000000000v", "\u0661m", "1mm", "*",
        "9" * 5000 + "s",
        "0.5t", "0.5s", "0.50v", "0.0v", ".5v", "00.5v", "1.v", "0.123456789012345678v",
    ],
)  # fmt: skip
def test_what_is_no_interval_is_refused_with_what_is(name: str) -> None:
    with pytest.raises(InvalidInterval, match="1s 1m 5m 15m 1h 1d") as caught:
        parse_interval(name)
    assert caught.value.name == name
    assert len(str(caught.value)) < 200


@given(st.integers(1, 100_000), st.sampled_from("smh"))
def test_a_part_of_a_day_is_an_interval_and_nothing_else(number: int, unit: str) -> None:
    size = number * {"s": 1, "m": 60, "h": 3600}[unit] * NS_PER_S
    try:
        interval = parse_interval(f"{number}{unit}")
    except InvalidInterval:
        assert size >= NS_PER_DAY or NS_PER_DAY % size
    else:
        assert NS_PER_DAY % interval.size == 0
        assert interval.size == size < NS_PER_DAY


@pytest.mark.parametrize(
    ("name", "by_clock", "nominal_ns"),
    [
        ("5m", True, 300 * NS_PER_S),
        ("1d", True, NS_PER_DAY),
        ("2w", True, 14 * NS_PER_DAY),
        ("100t", False, 100),
    ],
)
def test_an_interval_knows_whether_the_clock_ends_its_bars(
    name: str, by_clock: bool, nominal_ns: int
) -> None:
    interval = parse_interval(name)
    assert interval.by_clock is by_clock
    assert not by_clock or interval.nominal_ns == nominal_ns


@pytest.mark.parametrize("name", ["3d", "1w", "1M", "1y"])
def test_long_intervals_are_made_of_daily_bars_and_no_others(name: str) -> None:
    assert parse_interval(name).is_long
    assert not any(parse_interval(each).is_long for each in ("1s", "1h", "1d", "100t"))


def test_an_interval_without_live_bars_is_refused_with_those_that_have_them() -> None:
    assert str(not_live("1w", ["1m", "1d"])) == (
        "interval '1w' is not one of those with live bars, 1m 1d; "
        "it is made of 1d bars when it is read"
    )
    assert str(not_live("1w", ["1m"])) == "interval '1w' is not one of 1m"
    assert str(not_live("?", ["1m", "1d"])) == "interval '?' is not one of 1m 1d"
    assert str(not_live("1w", [])) == "interval '1w' is not one of none: bars are off"
