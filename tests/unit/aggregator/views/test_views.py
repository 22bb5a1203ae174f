"""Views follow from the trades alone, whatever batches these came in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.views.view import Trades
from aggregator.views.views import VIEWS, UnknownView, Views
from aggregator.views.volume_profile import MAX_LEVELS, VolumeProfile
from marketdata.wire.market_data_pb2 import EXCLUDE_LAST

DAY_NS = 86_400 * 10**9
SYMBOLS = ["A", "B", "C"]
LEVELS = {
    0.01: "0.01",
    1.0: "1",
    10.004: "10",
    99.99: "99.99",
    12_345.6: "12350",
    1e9: "1000000000",
}
Trade = tuple[int, float, int, int]

trades = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(sorted(LEVELS)),
        st.integers(1, 2**60),
        st.integers(0, 3).map(lambda hours: DAY_NS + hours * 8 * 3600 * 10**9),
    ),
    min_size=1,
    max_size=30,
)


def columns(given: Sequence[Trade]) -> Trades:
    rows, prices, volumes, times = zip(*given, strict=True)
    return Trades(
        SYMBOLS,
        np.array(rows, np.int32),
        np.array(prices, np.float64),
        np.array(volumes, np.int64),
        np.zeros(len(rows), np.int32),
        np.array(times, np.int64),
        np.zeros(len(rows), np.int32),
    )


def read(views: Views, name: str, symbol: str) -> dict[str, Any] | None:
    found = views.read(name, symbol)
    return None if found is None else orjson.loads(found)


def expected_last(given: Sequence[Trade], row: int) -> tuple[float, str, str] | None:
    own = [each for each in given if each[0] == row]
    if not own:
        return None
    # max() keeps the first of equals, and ties go to the last.
    _, price, volume, time = max(reversed(own), key=lambda trade: trade[3])
    return price, str(volume), str(time)


@given(trades, st.integers(1, 30))
def test_the_last_trade_is_the_latest_by_exchange_time_then_by_arrival(
    given: list[Trade], size: int
) -> None:
    views = Views(["last-trade"])
    for at in range(0, len(given), size):
        views.add(columns(given[at : at + size]), now_ns=7)
    for row, symbol in enumerate(SYMBOLS):
        state = read(views, "last-trade", symbol)
        found = state and (state["price"], state["volume"], state["timeNs"])
        assert found == expected_last(given, row)


@given(trades, st.integers(1, 30))
def test_the_volume_profile_has_the_volume_of_the_latest_day_by_price(
    given: list[Trade], size: int
) -> None:
    views = Views(["volume-profile"])
    for at in range(0, len(given), size):
        views.add(columns(given[at : at + size]), now_ns=7)
    for row, symbol in enumerate(SYMBOLS):
        own = [each for each in given if each[0] == row]
        state = read(views, "volume-profile", symbol)
        if not own:
            assert state is None
            continue
        latest = max(time for *_, time in own) // DAY_NS
        levels: dict[str, int] = {}
        for _, price, volume, time in own:
            if time // DAY_NS == latest:
                level = LEVELS[price]
                levels[level] = levels.get(level, 0) + volume
        assert state is not None
        assert {level: int(volume) for level, volume in state["levels"].items()} == levels


def test_a_symbol_has_a_bounded_number_of_levels() -> None:
    states: dict[str, dict[str, Any]] = {}
    prices = [1.0 + number / 1000 for number in range(9_000)]
    prices += [10.0 + number / 100 for number in range(9_000)]
    VolumeProfile().add(states, columns([(0, price, 1, DAY_NS) for price in prices]))
    assert len(states["A"]["levels"]) == MAX_LEVELS
    assert int(states["A"]["other"]) == len(prices) - MAX_LEVELS


@given(trades, trades)
def test_a_view_goes_on_from_its_saved_state(first: list[Trade], second: list[Trade]) -> None:
    names = [view.name for view in VIEWS]
    whole, before, after = Views(names), Views(names), Views(names)
    whole.add(columns(first), 1)
    before.add(columns(first), 1)
    after.load_state(orjson.loads(orjson.dumps(before.dump_state())))
    for views in (whole, after):
        views.add(columns(second), 2)
    assert after.dump_state() == whole.dump_state()


def test_a_view_that_nobody_asked_for_is_refused_by_name() -> None:
    with pytest.raises(UnknownView, match="no view 'vwap'; AGGREGATOR_VIEWS has last-trade"):
        Views(["last-trade"]).read("vwap", "A")


def test_a_trade_that_does_not_move_the_close_is_not_the_last() -> None:
    views = Views(["last-trade"])
    first, second = (0, 10.0, 1, DAY_NS + 1), (0, 11.0, 2, DAY_NS + 2)
    trades = columns([first, second])
    excludes = np.array([0, EXCLUDE_LAST], np.int32)
    views.add(trades._replace(excludes=excludes, decimals=np.array([1, 0], np.int32)), 1)
    found = read(views, "last-trade", SYMBOLS[0])
    assert found is not None
    assert (found["price"], found["volume"]) == (10.0, "0.1")
