"""The random walk: the same seed gives the same ticks, and prices stay sensible."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from statistics import pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakeclient.ticks import Row
from fakeclient.walk import KNOWN_SYMBOLS, RandomWalk, choose_symbols, messy_spelling
from marketdata.symbols import normalize_symbol


def take(count: int, *, seed: int = 1, at_once: int = 100) -> list[Row]:
    walk = RandomWalk(("AAPL", "MSFT"), Random(seed))
    rows: list[Row] = []
    while len(rows) < count:
        rows += walk.take(min(at_once, count - len(rows)), len(rows))
    return rows


@given(st.integers(min_value=1, max_value=300))
def test_the_same_seed_gives_the_same_ticks_however_many_are_taken_at_once(at_once: int) -> None:
    assert take(300, at_once=at_once) == take(300)


def test_another_seed_gives_other_ticks() -> None:
    assert take(20, seed=1) != take(20, seed=2)


def test_times_begin_now_and_increase() -> None:
    rows = RandomWalk(("AAPL",), Random(1)).take(3, 1_000)
    assert [row[3] for row in rows] == [1_000, 1_001, 1_002]


def test_prices_are_positive_whole_cents_and_volumes_positive() -> None:
    for _, price, volume, _ in take(20_000):
        assert price >= 0.01
        assert price == round(price, 2)
        assert volume >= 1


def test_a_price_at_the_floor_stays_positive() -> None:
    walk = RandomWalk(("PENNY",), Random(1))
    walk.go_on_from({"PENNY": 0.01})
    prices = [row[1] for row in walk.take(1_000, 0)]
    assert min(prices) == 0.01
    assert max(prices) > 0.01


def test_prices_go_on_from_the_ones_given() -> None:
    walk = RandomWalk(("AAPL", "MSFT"), Random(1))
    walk.go_on_from({"MSFT": 77.77})
    rows = walk.take(100, 0)
    assert {price for symbol, price, *_ in rows if symbol == "MSFT"} <= {77.76, 77.77, 77.78}
    assert all(price > 100 for symbol, price, *_ in rows if symbol == "AAPL")


@pytest.mark.parametrize(("rate", "symbols"), [(1000, 20), (50, 5), (4000, 20)])
def test_a_minute_moves_prices_as_a_market_does_at_any_rate(rate: int, symbols: int) -> None:
    names = KNOWN_SYMBOLS[:symbols]
    walk = RandomWalk(names, Random(1), rate=rate)
    closes = [{row[0]: row[1] for row in walk.take(rate * 60, 0)} for _ in range(40)]
    moves = [
        later[name] / earlier[name] - 1 for earlier, later in pairwise(closes) for name in names
    ]
    assert 0.0002 < pstdev(moves) < 0.001


def test_prices_are_drawn_back_to_where_they_began() -> None:
    walk = RandomWalk(("AAPL",), Random(1), rate=1)
    first = walk.take(1, 0)[0][1]
    # Two weeks of one tick per second.
    prices = [row[1] for row in walk.take(14 * 86_400, 0)]
    assert first * 0.95 < min(prices)
    assert max(prices) < first * 1.05


def test_every_symbol_trades() -> None:
    walk = RandomWalk(choose_symbols("500"), Random(1))
    assert {row[0] for row in walk.take(20_000, 0)} == set(choose_symbols("500"))


def test_a_count_takes_the_known_symbols_first() -> None:
    assert choose_symbols("2") == ("AAPL", "MSFT")
    many = choose_symbols("500")
    assert many[: len(KNOWN_SYMBOLS)] == KNOWN_SYMBOLS
    assert many[-1] == "S00500"
    assert len(set(many)) == 500
    assert all(normalize_symbol(symbol) == symbol for symbol in many)


def test_a_list_is_normalized_and_repetitions_dropped() -> None:
    assert choose_symbols("MSFT, AAPL,BRK.B,MSFT, msft") == ("MSFT", "AAPL", "BRK.B", "msft")


@pytest.mark.parametrize("wish", ["0", "100001", "", "AAPL,,MSFT", "A" * 65, "SÜD", "\u0661\u0662"])
def test_what_names_no_symbols_is_refused(wish: str) -> None:
    with pytest.raises(ValueError, match="symbol"):
        choose_symbols(wish)


def test_a_messy_spelling_is_the_same_symbol_only_for_a_server_that_takes_upper_case() -> None:
    assert messy_spelling("AAPL") == " aApL "
    assert normalize_symbol(messy_spelling("BRK.B"), "upper") == "BRK.B"
    assert normalize_symbol(messy_spelling("BRK.B")) == "bRk.b"


def test_a_messy_walk_differs_in_spelling_only() -> None:
    clean = RandomWalk(("AAPL",), Random(1)).take(5, 0)
    messy = RandomWalk(("AAPL",), Random(1), messy=True).take(5, 0)
    assert messy == [(" aApL ", *row[1:]) for row in clean]
