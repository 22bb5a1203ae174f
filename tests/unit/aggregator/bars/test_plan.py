"""Which bars there are, and in which pieces their trades are summed up."""

from __future__ import annotations

import pytest

from aggregator.bars.plan import BarPlan, InvalidPlan, parse_intervals
from aggregator.settings import AggregatorSettings
from marketdata.errors import SettingsError
from marketdata.intervals import InvalidInterval
from marketdata.settings import load_settings
from marketdata.timestamps import NS_PER_S


@pytest.mark.parametrize(
    ("names", "base_s"),
    [
        ("1s,1m,5m,15m,1h,1d", 1),
        ("5m,2m,1d", 60),
        ("15m,1h", 900),
        # Longer than the revise window, or none by the clock of the day.
        ("1h", 1),
        ("1d,100t", 1),
        ("100t", 0),
        ("", 0),
    ],
)
def test_the_base_piece_divides_every_interval_and_is_within_the_revise_window(
    names: str, base_s: int
) -> None:
    assert BarPlan(parse_intervals(names)).base_ns == base_s * NS_PER_S


def test_intervals_keep_their_order_and_are_sorted_where_time_ends_them() -> None:
    plan = BarPlan(parse_intervals(" 1d, 1m ,100t,1s"))
    assert [i.name for i in plan.intervals] == ["1d", "1m", "100t", "1s"]
    assert [i.name for i in plan.by_clock] == ["1s", "1m", "1d"]
    assert [i.name for i in plan.by_trades] == ["100t"]


def test_an_interval_that_is_not_made_names_those_that_are() -> None:
    with pytest.raises(InvalidInterval, match="'2m' is not one of 1s 1m"):
        BarPlan(parse_intervals("1s,1m")).interval("2m")
    with pytest.raises(InvalidInterval, match="those with live bars, 1s 1d; it is made of 1d bars"):
        BarPlan(parse_intervals("1s,1d")).interval("1w")
    with pytest.raises(InvalidInterval, match="bars are off"):
        BarPlan().interval("1m")


def test_the_same_bars_twice_are_refused() -> None:
    with pytest.raises(InvalidPlan, match="1m and 60s"):
        parse_intervals("1m,60s")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("AGGREGATOR_BARS", "1s,7m", "interval '7m' is not one of"),
        ("AGGREGATOR_BARS", "1d,1w", "1w needs no entry: it is made of 1d bars when read"),
        ("AGGREGATOR_WEEK_START", "Mon", "'monday', 'tuesday'"),
        ("AGGREGATOR_DAYS_ANCHOR", "1970", "date"),
        ("AGGREGATOR_RETENTION", "1w=1y", "1w is not stored: it is made of 1d bars when read"),
        ("AGGREGATOR_BARS", "1h,60m", "1h and 60m are the same bars"),
        ("AGGREGATOR_BAR_REVISE_S", "1.5", "less than the grace of 2.0 s"),
    ],
)
def test_settings_that_make_no_bars_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"{name}='{value}'.*{message}"):
        load_settings(AggregatorSettings)
