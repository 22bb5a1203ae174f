"""Bars that end after so many trades, so much volume or so much money."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.bars.bar import Bar, BarState, Coverage
from aggregator.bars.candle import MAX_INT64
from aggregator.bars.event_bars import MAX_BARS_PER_TRADE, MAX_PENDING, EventBars
from aggregator.bars.source import Amendment
from marketdata.decimals import to_decimal
from marketdata.intervals import IntervalKind, parse_interval
from marketdata.timestamps import NS_PER_S

GRACE = 2 * NS_PER_S
START = 1_700_000_000 * NS_PER_S

# price, volume, exchange time, sequence
Trade = tuple[float, int, int, int]


def make_bars(interval: str) -> EventBars:
    return EventBars(
        "A",
        parse_interval(interval),
        grace_ns=GRACE,
        coverage=lambda _start, _end: Coverage.FULL,
        phase=lambda _ts: "regular",
    )


def trades_of(*rows: tuple[float, int]) -> list[Trade]:
    return [(price, volume, START + i, i) for i, (price, volume) in enumerate(rows)]


def feed(bars: EventBars, trades: Sequence[Trade]) -> list[Bar]:
    """Give trades as they arrive, with the clock at the latest of them."""
    clock, filled = 0, []
    for trade in trades:
        bars.add(*trade)
        clock = max(clock, trade[2])
        filled += bars.advance(clock)
    return filled


def all_of(interval: str, trades: Sequence[Trade]) -> tuple[list[Bar], Bar | None]:
    bars = make_bars(interval)
    filled = feed(bars, trades) + bars.flush()
    return filled, bars.open_bar


def shown(bar: Bar) -> tuple[object, ...]:
    candle = bar.candle
    ohlc = candle.open, candle.high, candle.low, candle.close
    return (bar.start, bar.end, bar.number, *ohlc, candle.volume, candle.trades, candle.vwap)


rows = st.lists(
    st.tuples(
        st.floats(0.01, 1000, allow_nan=False), st.integers(1, 200), st.integers(0, NS_PER_S)
    ),
    max_size=60,
)


@st.composite
def sequences(draw: st.DrawFn) -> list[Trade]:
    ts, trades = START, []
    for sequence, (price, volume, step) in enumerate(draw(rows)):
        # Many times are equal.
        ts += step // 2 * (step % 2)
        trades.append((price, volume, ts, sequence))
    return trades


intervals = st.sampled_from(["1t", "3t", "100t", "1v", "700v", "10000v", "1n", "900n", "100000n"])


@settings(deadline=None)
@given(intervals, sequences())
def test_volume_and_trades_are_conserved(interval: str, trades: list[Trade]) -> None:
    filled, rest = all_of(interval, trades)
    bars = [*filled, *([] if rest is None else [rest])]
    assert sum(bar.candle.volume for bar in bars) == sum(volume for _, volume, _, _ in trades)
    assert sum(bar.candle.trades for bar in bars) == len(trades)
    assert all(bar.candle.volume > 0 for bar in bars)


@settings(deadline=None)
@given(intervals, sequences())
def test_a_filled_bar_is_final_and_follows_the_one_before(
    interval: str, trades: list[Trade]
) -> None:
    filled, rest = all_of(interval, trades)
    assert {bar.state for bar in filled} <= {BarState.FINAL}
    assert rest is None or rest.state is BarState.PARTIAL
    bars = [*filled, *([] if rest is None else [rest])]
    assert len({bar.key for bar in bars}) == len(bars)
    for before, after in pairwise(bars):
        assert before.start <= before.end <= after.start
        assert after.number == (before.number + 1 if after.start == before.start else 0)


@settings(deadline=None)
@given(st.integers(1, 7), sequences())
def test_a_tick_bar_has_exactly_its_number_of_trades(size: int, trades: list[Trade]) -> None:
    filled, rest = all_of(f"{size}t", trades)
    assert [bar.candle.trades for bar in filled] == [size] * (len(trades) // size)
    assert (0 if rest is None else rest.candle.trades) == len(trades) % size


@settings(deadline=None)
@given(st.integers(10, 7000), sequences())
def test_a_volume_bar_has_exactly_its_volume(size: int, trades: list[Trade]) -> None:
    total = sum(volume for _, volume, _, _ in trades)
    filled, rest = all_of(f"{size}v", trades)
    assert [bar.candle.volume for bar in filled] == [size] * (total // size)
    assert (0 if rest is None else rest.candle.volume) == total % size


@settings(deadline=None)
@given(st.integers(1000, 200_000), st.lists(st.integers(1, 100_000), max_size=40))
def test_a_notional_bar_ends_with_the_first_share_that_reaches_it(
    size: int, cents: list[int]
) -> None:
    trades = trades_of(*((cent / 100, 1 + cent % 977) for cent in cents))
    bars = make_bars(f"{size}n")
    filled = feed(bars, trades) + bars.flush()
    # The definition, share by share, in exact cents.
    reached, expected, volume = 0, [], 0
    for price, shares, _, _ in trades:
        cent = round(price * 100)
        for _ in range(shares):
            reached, volume = reached + cent, volume + 1
            if reached >= size * 100:
                expected.append(volume)
                reached = volume = 0
    assert bars.capped == 0
    assert [bar.candle.volume for bar in filled] == expected


@settings(deadline=None)
@given(intervals, sequences(), st.randoms(use_true_random=False))
def test_any_order_within_the_grace_gives_the_same_bars(
    interval: str, trades: list[Trade], random: Random
) -> None:
    # Each arrives less than the grace after its time.
    arrivals = sorted(trades, key=lambda t: (t[2] + random.randrange(GRACE), random.random()))
    filled, rest = all_of(interval, arrivals)
    expected_filled, expected_rest = all_of(interval, trades)
    assert list(map(shown, filled)) == list(map(shown, expected_filled))
    assert (rest and shown(rest)) == (expected_rest and shown(expected_rest))


@settings(deadline=None)
@given(intervals, sequences(), st.randoms(use_true_random=False))
def test_nothing_is_lost_in_any_order(interval: str, trades: list[Trade], random: Random) -> None:
    shuffled = random.sample(trades, len(trades))
    filled, rest = all_of(interval, shuffled)
    bars = [*filled, *([] if rest is None else [rest])]
    assert sum(bar.candle.volume for bar in bars) == sum(volume for _, volume, _, _ in trades)
    assert sum(bar.candle.trades for bar in bars) == len(trades)
    assert len({bar.key for bar in bars}) == len(bars)


@settings(deadline=None)
@given(intervals, sequences(), st.integers(0, 60))
def test_another_life_goes_on_where_one_ended(interval: str, trades: list[Trade], cut: int) -> None:
    whole_filled, whole_rest = all_of(interval, trades)
    first = make_bars(interval)
    filled = feed(first, trades[:cut]) + first.flush()
    kept = [*filled, *([] if first.open_bar is None else [first.open_bar])]
    second = make_bars(interval)
    second.restore(kept)
    filled += feed(second, trades[cut:]) + second.flush()
    assert list(map(shown, filled)) == list(map(shown, whole_filled))
    rest = second.open_bar
    assert (rest and shown(rest)) == (whole_rest and shown(whole_rest))


def test_a_trade_waits_for_its_grace() -> None:
    bars = make_bars("1t")
    assert bars.next_release() is None
    bars.add(10.0, 1, START, 1)
    assert bars.next_release() == START + GRACE
    assert bars.advance(START + GRACE - 1) == []
    (bar,) = bars.advance(START + GRACE)
    assert (bar.start, bar.end, bar.candle.open) == (START, START, 10.0)
    assert bars.next_release() is None


def test_the_wall_clock_lets_the_last_trades_of_a_quiet_symbol_count() -> None:
    bars = make_bars("2t")
    for trade in trades_of((10.0, 1), (11.0, 1)):
        bars.add(*trade)
        bars.advance(trade[2])
    clock = bars.next_release()
    assert clock == START + GRACE
    assert bars.advance(clock) == []
    clock = bars.next_release()
    assert clock == START + 1 + GRACE
    (bar,) = bars.advance(clock)
    assert (bar.candle.open, bar.candle.close) == (10.0, 11.0)


def test_a_trade_after_its_grace_counts_into_the_present_bar_as_in_its_middle() -> None:
    bars = make_bars("4t")
    for trade in trades_of((10.0, 1), (11.0, 2)):
        bars.add(*trade)
    bars.advance(START + 1 + GRACE)
    bars.add(20.0, 4, START - 5, 7)
    assert bars.advance(START + 1 + GRACE) == []
    assert bars.late == 1
    bar = bars.open_bar
    assert bar is not None
    assert shown(bar)[:9] == (START, START + 1, 0, 10.0, 20.0, 10.0, 11.0, 7, 3)


def test_a_bar_that_begins_with_a_late_trade_begins_where_the_bars_have_come_to() -> None:
    bars = make_bars("1t")
    (first,) = feed(bars, trades_of((10.0, 1))) + bars.flush()
    bars.add(9.0, 1, START - 5, 7)
    (late,) = bars.flush()
    assert (first.key.start, first.number) == (START, 0)
    assert (late.start, late.end, late.number) == (START, START, 1)


def test_a_large_trade_is_split_and_counts_in_its_first_piece() -> None:
    filled, rest = all_of("100v", trades_of((10.0, 30), (11.0, 250)))
    assert [(bar.candle.volume, bar.candle.trades) for bar in filled] == [(100, 2), (100, 0)]
    assert rest is not None
    assert (rest.candle.volume, rest.candle.trades, rest.number) == (80, 0, 1)
    assert (filled[0].candle.open, filled[0].candle.close) == (10.0, 11.0)
    assert (filled[1].candle.open, filled[1].candle.vwap) == (11.0, 11.0)
    # The second begins with the second trade, and so does the third.
    assert [bar.start for bar in (*filled, rest)] == [START, START + 1, START + 1]


def test_a_notional_bar_takes_as_many_shares_as_reach_it() -> None:
    filled, rest = all_of("1000n", trades_of((30.0, 50)))
    assert [bar.candle.volume for bar in filled] == [34]
    assert rest is not None
    assert rest.candle.volume == 16


def test_one_trade_makes_a_bounded_number_of_bars_and_the_last_has_the_rest() -> None:
    bars = make_bars("10v")
    bars.add(5.0, 10 * MAX_BARS_PER_TRADE + 7, START, 1)
    filled = bars.flush()
    assert len(filled) == MAX_BARS_PER_TRADE
    assert {bar.candle.volume for bar in filled[:-1]} == {10}
    assert filled[-1].candle.volume == 17
    assert (bars.capped, bars.open_bar) == (1, None)
    assert [bar.number for bar in filled] == list(range(MAX_BARS_PER_TRADE))


def test_as_many_bars_as_the_limit_are_not_capped() -> None:
    bars = make_bars("10v")
    bars.add(5.0, 10 * MAX_BARS_PER_TRADE, START, 1)
    assert {bar.candle.volume for bar in bars.flush()} == {10}
    assert bars.capped == 0


@pytest.mark.parametrize(
    ("interval", "price"),
    [("1n", 5e-324), ("999999999999999999n", 1e-5), ("1n", 1e300), ("3v", 1e300), ("2t", 1e289)],
)
def test_extreme_prices_and_volumes_are_counted(interval: str, price: float) -> None:
    bars = make_bars(interval)
    for i in range(3):
        bars.add(price, MAX_INT64 if price < 1e280 else 10**7, START + i, i)
    filled = bars.flush()
    rest = bars.open_bar
    total = sum(bar.candle.volume for bar in [*filled, *([] if rest is None else [rest])])
    assert total == 3 * (MAX_INT64 if price < 1e280 else 10**7)
    assert all(bar.candle.volume <= MAX_INT64 for bar in filled)


def test_a_bar_whose_volume_would_pass_an_int64_ends_before() -> None:
    bars = make_bars("3t")
    for i in range(2):
        bars.add(1.0, MAX_INT64, START + i, i)
    (bar,) = bars.flush()
    assert (bar.candle.trades, bars.capped) == (1, 1)


def test_a_notional_that_doubles_cannot_divide_exactly_is_still_found() -> None:
    filled, _ = all_of("100000000000000000n", trades_of((3.3, 10**17)))
    first = filled[0].candle.volume
    size, price = 10**17, Fraction(3.3)
    # To the precision of a double of that size.
    assert abs(first * price - size) < 64


def test_a_feed_whose_clock_stands_still_is_bounded() -> None:
    bars = make_bars("1000000t")
    for i in range(MAX_PENDING + 10):
        bars.add(1.0, 1, START, i)
    bars.advance(START)
    assert bars.pending == MAX_PENDING
    assert bars.open_bar is not None
    assert bars.open_bar.candle.trades == 10


def test_coverage_and_phase_are_those_of_the_bars_time() -> None:
    asked = []

    def coverage(start: int, end: int) -> Coverage:
        asked.append((start, end))
        return Coverage.PARTIAL

    bars = EventBars(
        "A", parse_interval("2t"), grace_ns=0, coverage=coverage, phase=lambda _: "post"
    )
    for trade in trades_of((10.0, 1), (11.0, 1)):
        bars.add(*trade)
    (bar,) = bars.flush()
    assert (bar.coverage, bar.phase) == (Coverage.PARTIAL, "post")
    assert asked == [(START, START + 2)]


def test_a_bar_may_end_after_a_fraction_of_a_unit() -> None:
    bars = make_bars("0.5v")
    for number, (volume, decimals) in enumerate([(467, 3), (2, 1), (1, 0), (3, 4)]):
        bars.add(10.0, volume, START + number, number, decimals=decimals)
    filled = bars.flush()
    sizes = [to_decimal(bar.candle.volume, bar.candle.volume_decimals) for bar in filled]
    assert sizes == [Decimal("0.5")] * 3
    rest = bars.open_bar
    assert rest is not None
    assert to_decimal(rest.candle.volume, rest.candle.volume_decimals) == Decimal("0.1673")


@settings(deadline=None)
@given(
    st.sampled_from(["0.5v", "3v", "0.0021v", "12.5n", "900n"]),
    st.lists(
        st.tuples(st.sampled_from([0.5, 9.25, 10.0]), st.integers(1, 10**5), st.integers(0, 4)),
        max_size=30,
    ),
)
def test_sizes_with_decimals_are_conserved_and_fill_bars_exactly(
    interval: str, given_trades: list[tuple[float, int, int]]
) -> None:
    bars = make_bars(interval)
    for number, (price, volume, decimals) in enumerate(given_trades):
        bars.add(price, volume, START + number, number, decimals=decimals)
    filled = bars.flush()
    rest = bars.open_bar
    found = [*filled, *([] if rest is None else [rest])]
    sizes = [to_decimal(bar.candle.volume, bar.candle.volume_decimals) for bar in found]
    sent = sum((to_decimal(volume, places) for _, volume, places in given_trades), Decimal(0))
    assert sum(sizes, Decimal(0)) == sent
    parsed = parse_interval(interval)
    enough = to_decimal(parsed.size, parsed.decimals)
    if parsed.kind is IntervalKind.VOLUME and not bars.capped:
        assert all(size == enough for size in sizes[: len(filled)])
        assert all(size < enough for size in sizes[len(filled) :])


def test_a_trade_that_waits_can_be_cancelled_and_corrected() -> None:
    bars = make_bars("10v")
    for number in range(4):
        bars.add(10.0 + number, 6, START + number, number)
    amendment = Amendment(
        row=0,
        ts=START + 1,
        sequence=1,
        price=0.0,
        volume=0,
        decimals=0,
        excludes=0,
        is_cancelled=True,
    )
    bars.amend(amendment)
    bars.amend(
        amendment._replace(
            ts=START + 2, sequence=2, price=20.0, volume=45, decimals=1, is_cancelled=False
        )
    )
    filled = bars.flush()
    assert [bar.candle.high for bar in filled] == [20.0]
    assert [bar.candle.trades for bar in filled] == [2]
    rest = bars.open_bar
    assert rest is not None
    assert to_decimal(rest.candle.volume, rest.candle.volume_decimals) == Decimal("6.5")
