"""The bars: whatever order trades arrive in, the same bars, each state published in its time."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.bars.bar import Bar, BarKey, BarState
from aggregator.bars.candle import MAX_INT64, Candle
from aggregator.bars.source import Amendment
from aggregator.sessions.sessions import NS_PER_DAY, NoSession, UtcDay
from marketdata.intervals import Interval
from marketdata.timestamps import NS_PER_S
from marketdata.validation import RejectReason
from tests.doubles.bars import EngineHarness, Trade, assert_bars, expected_bars, said
from tests.doubles.session_rules import HalfHourDays

DAY = 16_000 * NS_PER_DAY
MINUTE = 60 * NS_PER_S
S = NS_PER_S
PARTIAL, EARLY, FINAL, REVISED = BarState.PARTIAL, BarState.EARLY, BarState.FINAL, BarState.REVISED


RULES = {"utc-day": UtcDay(), "none": NoSession(), "half-hour": HalfHourDays()}

# Times where bars, sessions and days begin and end, close enough together for a revise window.
EDGES = [0, 1800 * S, 1800 * S + 310 * S]
times = st.builds(
    lambda edge, offset: DAY + edge + offset,
    st.sampled_from(EDGES),
    st.sampled_from([-1, 0, 1]) | st.integers(-400, 400).map(lambda n: n * S // 4),
)
trades = st.builds(
    Trade,
    times,
    st.floats(0.01, 1e6, allow_nan=False) | st.sampled_from([1.0, 1e15]),
    st.integers(1, 10**6),
    st.sampled_from("AB"),
)
trade_lists = st.lists(trades, min_size=1, max_size=30)
intervals = st.sampled_from(["1s,1m,5m,15m,1h,1d", "1h", "1d", "2m,3m,1d", "1h,1d"])


@given(trade_lists, intervals, st.sampled_from(sorted(RULES)), st.randoms(use_true_random=False))
def test_any_order_within_the_window_gives_the_bars_of_all_trades(
    made: list[Trade], names: str, rule: str, random: Random
) -> None:
    harness = EngineHarness(names, rule=RULES[rule], revise_s=90_000)
    numbered = list(enumerate(made, 1))
    arrival = numbered.copy()
    random.shuffle(arrival)
    for sequence, trade in arrival:
        harness.trade(trade, sequences=[sequence])
    newest = harness.newest()
    for name in names.split(","):
        found = {(k.symbol, k.start): bar for k, bar in newest.items() if k.interval == name}
        assert_bars(found, expected_bars(numbered, name, RULES[rule]))


@given(trade_lists, intervals, st.sampled_from(sorted(RULES)), st.data())
def test_batches_and_the_wall_clock_change_no_number(
    made: list[Trade], names: str, rule: str, data: st.DataObject
) -> None:
    harness = EngineHarness(names, rule=RULES[rule], revise_s=90_000)
    left = made.copy()
    while left:
        size = data.draw(st.integers(1, len(left)))
        now_ns = max(t.ts for t in left[:size])
        harness.trade(*left[:size], now_ns=now_ns)
        harness.close_due(now_ns + data.draw(st.integers(0, 3000)) * S)
        left = left[size:]
    newest = harness.newest()
    for name in names.split(","):
        found = {(k.symbol, k.start): bar for k, bar in newest.items() if k.interval == name}
        assert_bars(found, expected_bars(list(enumerate(made, 1)), name, RULES[rule]))


def test_what_the_wall_clock_closed_is_revised_while_its_symbol_has_nothing_newer() -> None:
    harness = EngineHarness("1s", revise_s=2)
    harness.trade(Trade(DAY), now_ns=DAY)
    # Other symbols go on, and the clock with them.
    harness.trade(Trade(DAY + 1800 * S, symbol="B"), now_ns=DAY + 1800 * S)
    harness.close_due(DAY + 1900 * S)
    harness.trade(Trade(DAY), now_ns=DAY + 1900 * S)
    last = harness.closed[-1]
    assert (last.symbol, last.state, last.revision) == ("A", BarState.REVISED, 1)
    assert last.candle.trades == 2


@given(trade_lists, st.booleans(), st.integers(0, 2000), st.data())
def test_no_state_goes_back_and_sequences_count_on(
    made: list[Trade], live: bool, revise_s: int, data: st.DataObject
) -> None:
    harness = EngineHarness("1s,1m,1h", revise_s=max(revise_s, 2), watched={"1s", "1m", "1h"})
    for trade in made:
        harness.trade(trade, now_ns=trade.ts if live else 0)
        harness.close_due(trade.ts + data.draw(st.integers(0, 100)) * S)
    ranks: dict[BarKey, tuple[int, int]] = {}
    sequences: dict[tuple[str, str], int] = {}
    for bar in harness.published:
        assert bar.rank >= ranks.get(bar.key, (0, 0))
        assert bar.revision <= ranks.get(bar.key, (0, 0))[0] + 1
        ranks[bar.key] = bar.rank
        series = (bar.symbol, bar.interval)
        assert bar.sequence > sequences.get(series, 0)
        sequences[series] = bar.sequence
    for name in ("1s", "1m", "1h"):
        ends = [end for interval, end in harness.completed if interval == name]
        assert ends == sorted(set(ends))


@given(trade_lists, st.integers(2, 100), st.booleans())
def test_what_is_too_late_is_taken_by_the_bars_that_are_not_closed(
    made: list[Trade], revise_s: int, live: bool
) -> None:
    harness = EngineHarness("1s,1m,1h,1d", revise_s=revise_s)
    latest: dict[str, int] = {}
    sizes = {"1s": S, "1m": MINUTE, "1h": 60 * MINUTE, "1d": NS_PER_DAY}
    kept: dict[str, list[tuple[int, Trade]]] = {name: [] for name in sizes}
    for number, trade in enumerate(made, 1):
        harness.trade(trade, sequences=[number], now_ns=trade.ts if live else 0)
        before = latest.get(trade.symbol, 0)
        for name, size in sizes.items():
            closes = trade.ts - trade.ts % size + size + 2 * S
            if before - trade.ts <= revise_s * S or before < closes:
                kept[name].append((number, trade))
        latest[trade.symbol] = max(before, trade.ts)
    # The longest are closed last.
    assert harness.engine.counts.bars_late == len(made) - len(kept["1d"])
    newest = harness.newest()
    for name in sizes:
        found = {(k.symbol, k.start): bar for k, bar in newest.items() if k.interval == name}
        assert_bars(found, expected_bars(kept[name], name))


@given(trade_lists)
def test_five_minutes_fold_into_one_bar_and_an_hour_has_the_volume_of_its_minutes(
    made: list[Trade],
) -> None:
    harness = EngineHarness(revise_s=90_000)
    harness.trade(*made)
    for coarse, fine in (("5m", "1m"), ("1h", "1m"), ("1d", "1h"), ("1m", "1s")):
        for symbol in harness.engine.table.symbols.symbols:
            for bar in harness.bars(coarse, symbol):
                parts = [b for b in harness.bars(fine, symbol) if bar.start <= b.start < bar.end]
                whole = parts[0].candle.copy()
                for part in parts[1:]:
                    whole.merge(part.candle)
                assert said(bar)[:-1] == (
                    *(whole.open, whole.high, whole.low, whole.close),
                    *(whole.volume, whole.trades, whole.first_ts, whole.last_ts),
                )
                assert bar.candle.vwap == pytest.approx(whole.vwap, rel=1e-12)


def states(bars: list[Bar], interval: str) -> list[tuple[int, BarState, int, int]]:
    """Return start, state, revision and trades of each."""
    return [
        (b.start - DAY, b.state, b.revision, b.candle.trades)
        for b in bars
        if b.interval == interval
    ]


def test_a_trade_exactly_on_a_boundary_opens_the_next_bar() -> None:
    harness = EngineHarness("1s,1m")
    harness.trade(Trade(DAY + MINUTE - 1), Trade(DAY + MINUTE))
    assert [(b.start, b.candle.trades) for b in harness.bars("1m")] == [(DAY, 1), (DAY + MINUTE, 1)]


def test_a_bar_goes_from_partial_to_early_to_final_to_revised() -> None:
    harness = EngineHarness("1m", watched={"1m"})
    for trade in (
        Trade(DAY),
        Trade(DAY + MINUTE),
        Trade(DAY + MINUTE - 1),
        Trade(DAY + MINUTE + 2 * S - 1),
        Trade(DAY + MINUTE + 2 * S),
        Trade(DAY + MINUTE - 1),
        Trade(DAY + MINUTE - 1),
    ):
        harness.trade(trade)
    assert [state for state in states(harness.published, "1m") if state[0] == 0] == [
        (0, PARTIAL, 0, 1),
        (0, EARLY, 0, 1),
        (0, EARLY, 0, 2),
        (0, FINAL, 0, 2),
        (0, REVISED, 1, 3),
        (0, REVISED, 2, 4),
    ]
    assert states(harness.closed, "1m") == [
        (0, FINAL, 0, 2),
        (0, REVISED, 1, 3),
        (0, REVISED, 2, 4),
    ]


def test_late_trades_of_one_batch_are_one_revision() -> None:
    harness = EngineHarness("1m")
    harness.trade(Trade(DAY), Trade(DAY + 2 * MINUTE), Trade(DAY + 1), Trade(DAY + 2))
    assert states(harness.closed, "1m") == [(0, FINAL, 0, 1), (0, REVISED, 1, 3)]


def test_a_state_that_was_handed_out_does_not_change_with_the_next_revision() -> None:
    harness = EngineHarness("1m")
    harness.trade(Trade(DAY), Trade(DAY + 2 * MINUTE))
    final = harness.closed[0]
    harness.trade(Trade(DAY + 1))
    assert (final.state, final.candle.trades, harness.closed[1].candle.trades) == (FINAL, 1, 2)


def test_a_late_trade_makes_the_bar_of_an_empty_minute() -> None:
    harness = EngineHarness("1m")
    harness.trade(Trade(DAY), Trade(DAY + 5 * MINUTE))
    harness.trade(Trade(DAY + 3 * MINUTE), Trade(DAY + 3 * MINUTE + 1))
    harness.trade(Trade(DAY + 3 * MINUTE))
    assert states(harness.closed, "1m")[1:] == [
        (3 * MINUTE, FINAL, 0, 2),
        (3 * MINUTE, REVISED, 1, 3),
    ]


def test_a_late_trade_within_the_grace_makes_an_early_bar() -> None:
    harness = EngineHarness("1s", watched={"1s"})
    harness.trade(Trade(DAY), Trade(DAY + 4 * S))
    harness.trade(Trade(DAY + 3 * S - 1))
    assert states(harness.published, "1s")[-2:-1] == [(2 * S, EARLY, 0, 1)]
    harness.trade(Trade(DAY + 5 * S))
    assert states(harness.closed, "1s")[-1] == (2 * S, FINAL, 0, 1)


def test_a_trade_is_in_time_up_to_the_revise_window_and_not_beyond() -> None:
    harness = EngineHarness("1m", revise_s=100)
    harness.trade(Trade(DAY + 200 * S), Trade(DAY + 100 * S), Trade(DAY + 100 * S - 1))
    assert harness.engine.counts.bars_late == 1
    assert [b.candle.trades for b in harness.bars("1m")] == [1, 1]
    state = harness.book.aggregate("A")
    assert state is not None
    assert state.trades == 3


def test_the_ends_of_an_interval_complete_once_in_order_after_their_bars() -> None:
    harness = EngineHarness("1m", watched={"1m"})
    harness.trade(Trade(DAY), Trade(DAY, symbol="B"), Trade(DAY + MINUTE + 3 * S))
    assert harness.story == [("A", DAY, FINAL)]
    harness.trade(Trade(DAY + MINUTE, symbol="B"))
    harness.trade(Trade(DAY + MINUTE + 2 * S, symbol="B"))
    harness.trade(Trade(DAY + 5, symbol="B"))
    assert harness.story[1:] == [
        ("B", DAY, EARLY),
        ("B", DAY, FINAL),
        ("1m", DAY + MINUTE),
        ("B", DAY, REVISED),
    ]


def test_a_quiet_symbol_holds_a_marker_back_no_longer_than_the_revise_window() -> None:
    harness = EngineHarness("1m", revise_s=300)
    harness.trade(Trade(DAY), Trade(DAY, symbol="B"), Trade(DAY + 6 * MINUTE - 1))
    assert harness.completed == []
    harness.trade(Trade(DAY + 6 * MINUTE))
    assert harness.completed == [("1m", DAY + MINUTE)]
    assert harness.bars("1m", "B")[0].state is PARTIAL


def test_1970_and_today_are_two_bars_not_millions() -> None:
    harness = EngineHarness()
    harness.trade(Trade(1), Trade(DAY))
    for name in ("1s", "1m", "1d"):
        assert len(harness.bars(name)) + sum(b.interval == name for b in harness.closed) <= 3
        assert (
            len({b.start for b in [*harness.bars(name), *harness.closed] if b.interval == name})
            == 2
        )
    assert len(harness.completed) == 6


def test_a_quiet_symbols_last_bar_is_closed_by_the_wall_clock() -> None:
    harness = EngineHarness("1s,1m", watched={"1m"})
    harness.trade(Trade(DAY + 10), now_ns=DAY + 20)
    assert harness.engine.next_timer() == DAY + S
    harness.close_due(DAY + MINUTE - 1)
    assert states(harness.published, "1m") == [(0, PARTIAL, 0, 1)]
    harness.close_due(DAY + MINUTE)
    assert states(harness.published, "1m")[1:] == [(0, EARLY, 0, 1)]
    assert harness.engine.next_timer() == DAY + MINUTE + 2 * S
    harness.close_due(DAY + MINUTE + 2 * S)
    assert states(harness.published, "1m")[2:] == [(0, FINAL, 0, 1)]
    assert harness.completed[-1] == ("1m", DAY + MINUTE)
    assert harness.engine.next_timer() is None


def test_a_trade_that_comes_after_the_wall_clock_closed_its_bar_revises_it() -> None:
    harness = EngineHarness("1s,1m")
    harness.trade(Trade(DAY + 59 * S), now_ns=DAY + 59 * S)
    harness.close_due(DAY + MINUTE + 2 * S)
    harness.trade(Trade(DAY + MINUTE - 1), now_ns=DAY + MINUTE + 3 * S)
    assert states(harness.closed, "1m") == [(0, FINAL, 0, 1), (0, REVISED, 1, 2)]
    harness.trade(Trade(DAY + MINUTE + S), now_ns=DAY + MINUTE + 3 * S)
    assert [b.candle.trades for b in harness.bars("1m")] == [2, 1]


@pytest.mark.parametrize("age_s", [61, 10**6])
def test_in_a_replay_the_wall_clock_closes_nothing(age_s: int) -> None:
    harness = EngineHarness("1m")
    harness.trade(Trade(DAY), now_ns=DAY + age_s * S)
    assert harness.engine.next_timer() is None
    harness.close_due(DAY + age_s * S)
    assert harness.bars("1m")[0].state is PARTIAL


def test_a_symbol_whose_trades_catch_up_with_the_present_is_live() -> None:
    harness = EngineHarness("1m")
    harness.trade(Trade(DAY), now_ns=DAY + 61 * S)
    harness.trade(Trade(DAY + 30 * S), now_ns=DAY + 62 * S)
    # 32 s later than for trades that are not late.
    harness.close_due(DAY + 94 * S)
    assert states(harness.closed, "1m") == [(0, FINAL, 0, 2)]


def test_closing_in_several_calls_loses_nothing() -> None:
    harness = EngineHarness("1s,1m")
    symbols = [f"S{n}" for n in range(25)]
    harness.trade(*(Trade(DAY, symbol=symbol) for symbol in symbols), now_ns=DAY)
    calls = 1
    while not harness.engine.close_due(DAY + 2 * MINUTE, 10):
        calls += 1
        assert harness.completed == []
    assert calls == 3
    assert {(b.symbol, b.interval) for b in harness.closed} == {
        (symbol, name) for symbol in symbols for name in ("1s", "1m")
    }
    assert harness.completed == [("1s", DAY + S), ("1m", DAY + MINUTE)]


def test_partial_bars_are_published_only_where_somebody_watches() -> None:
    harness = EngineHarness("1s,1m", watched={"1m"})
    harness.trade(Trade(DAY))
    assert {bar.interval for bar in harness.published} == {"1m"}
    assert (
        harness.engine.series.sequence("A", "1m"),
        harness.engine.series.sequence("A", "1s"),
    ) == (
        1,
        0,
    )


def test_closed_bars_beyond_the_limit_are_given_up_oldest_first() -> None:
    harness = EngineHarness("1m", max_closed=2)
    harness.trade(*(Trade(DAY + n * MINUTE) for n in range(6)))
    assert [b.start - DAY for b in harness.bars("1m")] == [n * MINUTE for n in (2, 3, 4, 5)]
    harness.trade(Trade(DAY))
    assert (harness.engine.counts.bars_evicted, harness.engine.evicted) == (1, 2)
    assert all(bar.revision == 0 for bar in harness.closed)


def test_closed_bars_that_nothing_can_revise_leave_the_memory() -> None:
    harness = EngineHarness("1s", revise_s=10)
    harness.trade(*(Trade(DAY + n * S) for n in range(1_000)))
    assert len(harness.bars("1s")) == 11
    assert harness.engine.evicted == 0


@pytest.mark.parametrize("rule", sorted(RULES))
def test_a_volume_that_overflows_any_bar_is_refused_and_changes_nothing(rule: str) -> None:
    harness = EngineHarness("1m,1d", rule=RULES[rule])
    start = DAY + 3600 * S
    harness.trade(Trade(start, volume=MAX_INT64 - 10), Trade(start + MINUTE, volume=6))
    before = {bar.key: said(bar) for bar in harness.engine.open_bars()}
    refused = harness.trade(Trade(start + 2 * MINUTE, volume=5)).rejections
    refused += harness.trade(Trade(start + MINUTE, volume=5)).rejections
    refused += harness.trade(Trade(start, volume=5)).rejections
    assert [reason for _, reason in refused] == [RejectReason.TOTAL_OVERFLOW] * 3
    assert {bar.key: said(bar) for bar in harness.engine.open_bars()} == before
    assert harness.trade(Trade(start + MINUTE, volume=4)).accepted == 1


def test_a_bar_across_two_sessions_has_the_trades_of_both_and_refuses_their_overflow() -> None:
    rule = HalfHourDays()
    harness = EngineHarness("2h", rule=rule, revise_s=100_000)
    end = DAY + 1800 * S
    harness.trade(Trade(end - 1, volume=MAX_INT64 - 1))
    assert harness.trade(Trade(end + 310 * S, volume=1)).rejections == []
    assert [b.candle.trades for b in harness.bars("2h")] in ([2], [1, 1])
    state = harness.book.aggregate("A")
    assert state is not None
    assert state.volume == 1


def test_money_never_becomes_infinite() -> None:
    harness = EngineHarness("1s,1m")
    harness.trade(Trade(DAY, 1e308))
    assert harness.trade(Trade(DAY + S, 1e308)).rejections == [(2, RejectReason.TOTAL_OVERFLOW)]
    assert harness.trade(Trade(DAY + S, inf)).rejections == [(3, RejectReason.PRICE_NOT_FINITE)]
    assert harness.bars("1m")[0].candle.vwap == 1e308


def test_trades_between_sessions_are_in_bars_and_not_in_the_session() -> None:
    harness = EngineHarness("1m,1d", rule=HalfHourDays())
    opens = DAY + 1800 * S + 310 * S
    harness.trade(Trade(opens - 1), Trade(opens), Trade(opens - 1))
    assert harness.engine.counts.out_of_session == 2
    state = harness.book.aggregate("A")
    assert state is not None
    assert (state.trades, state.session_start) == (1, opens)
    assert [b.candle.trades for b in harness.bars("1d")] == [1]
    assert sum(b.candle.trades for b in harness.bars("1m")) == 3


def test_a_symbol_with_trades_between_sessions_alone_has_no_aggregate() -> None:
    harness = EngineHarness("1m", rule=HalfHourDays())
    applied = harness.trade(Trade(DAY + 1800 * S))
    assert (applied.accepted, len(applied.rows)) == (1, 0)
    assert harness.book.aggregate("A") is None


@given(trade_lists, st.integers(0, 30), st.booleans())
def test_a_restart_goes_on_exactly(made: list[Trade], cut: int, live: bool) -> None:
    harness = EngineHarness(revise_s=90_000)
    now = max(t.ts for t in made) if live else 0
    harness.trade(*made[:cut], now_ns=now)
    if live:
        harness.close_due(now + 30 * S)
    held = {bar.key: bar for bar in harness.closed}
    held.update({bar.key: bar for bar in harness.engine.open_bars()})
    again = EngineHarness(revise_s=90_000)
    again.engine.restore(held.values(), now)
    for number, trade in enumerate(made[cut:], cut + 1):
        again.trade(trade, sequences=[number], now_ns=now)
    again.close_due(now + NS_PER_DAY)
    newest = {**held, **again.newest()}
    for name in ("1s", "1m", "5m", "15m", "1h", "1d"):
        found = {(k.symbol, k.start): bar for k, bar in newest.items() if k.interval == name}
        assert_bars(found, expected_bars(list(enumerate(made, 1)), name))


def test_a_restored_bar_keeps_its_revisions() -> None:
    harness = EngineHarness("1m")
    harness.trade(Trade(DAY), Trade(DAY + 2 * MINUTE), Trade(DAY + 1))
    again = EngineHarness("1m")
    again.engine.restore([*harness.closed[-1:], *harness.engine.open_bars()])
    again.trade(Trade(DAY + 2))
    assert states(again.closed, "1m") == [(0, REVISED, 2, 3)]


@pytest.mark.parametrize("bars", ["1m", "2t"])
def test_a_restored_symbol_is_one_of_the_book_with_its_first_trade(bars: str) -> None:
    harness = EngineHarness("1m,2t", event_bars=Pairs)
    harness.trade(Trade(DAY), Trade(DAY + 9 * S), Trade(DAY + 9 * S, symbol="B"))
    again = EngineHarness("1m,2t", event_bars=Pairs)
    again.engine.restore([bar for bar in harness.engine.open_bars() if bar.interval == bars])
    opened = list[str]()
    again.book.opened = lambda symbol, _row: opened.append(symbol)
    assert again.book.symbols() == []
    again.trade(Trade(DAY + 10 * S, symbol="B"))
    again.trade(Trade(DAY + 10 * S), Trade(DAY + 11 * S), Trade(DAY + 11 * S, symbol="B"))
    assert (again.book.symbols(), opened) == (["A", "B"], ["B", "A"])
    assert [again.book.state(symbol).trades for symbol in "AB"] == [2, 2]


def test_a_restored_symbol_beyond_the_limit_is_refused_as_a_new_one() -> None:
    harness = EngineHarness("1m", max_symbols=1)
    harness.trade(Trade(DAY))
    again = EngineHarness("1m", max_symbols=1)
    again.trade(Trade(DAY, symbol="B"))
    again.engine.restore(harness.engine.open_bars())
    applied = again.trade(Trade(DAY + 1), Trade(DAY + 1, symbol="B"))
    assert applied.rejections == [(2, RejectReason.TOO_MANY_SYMBOLS)]
    assert (again.book.symbols(), again.book.aggregate("A")) == (["B"], None)


class Pairs:
    """Bars of two trades each, in the order in which they come."""

    def __init__(self, symbol: str, interval: Interval) -> None:
        self.symbol, self.interval = symbol, interval
        self.trades: list[tuple[float, int, int, int]] = []
        self.open_bar: Bar | None = None
        self.number = 0

    def add(
        self,
        price: float,
        volume: int,
        ts: int,
        sequence: int,
        *,
        decimals: int = 0,
        excludes: int = 0,
    ) -> None:
        """Let a trade wait for its grace."""
        self.trades.append((price, volume, ts, sequence))

    def amend(self, amendment: Amendment) -> None:
        """Do nothing."""

    def advance(self, clock_ns: int) -> list[Bar]:
        """Count trades two seconds older than the clock."""
        filled = []
        while self.trades and self.trades[0][2] + 2 * S <= clock_ns:
            trade = self.trades.pop(0)
            if self.open_bar is None:
                self.open_bar = Bar(
                    self.symbol, self.interval.name, trade[2], trade[2], Candle(), self.number
                )
                self.number += 1
            bar = self.open_bar
            bar.candle.add(*trade)
            if bar.candle.trades == 2:
                bar.state, self.open_bar = FINAL, None
                filled.append(bar)
        return filled

    def next_release(self) -> int | None:
        """Return when the first trade may count."""
        return self.trades[0][2] + 2 * S if self.trades else None

    def flush(self) -> list[Bar]:
        """Count all."""
        return self.advance(2**62)

    def restore(self, bars: Iterable[Bar]) -> None:
        """Go on."""
        self.open_bar = next(iter(bars))

    def dump_state(self) -> dict[str, Any]:
        """Save nothing: these bars are never restored from a checkpoint."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Load nothing."""


@pytest.mark.parametrize("names", ["2t", "2t,1s"])
def test_bars_that_no_clock_ends_get_every_accepted_trade(names: str) -> None:
    harness = EngineHarness(names, event_bars=Pairs, watched={"2t"})
    harness.trade(*(Trade(DAY + n, volume=n) for n in range(5)), now_ns=DAY)
    assert harness.engine.next_timer() in {DAY + S, DAY + 1 + 2 * S}
    harness.close_due(DAY + 4 * S)
    pairs = [bar for bar in harness.closed if bar.interval == "2t"]
    assert [(b.number, b.sequence, b.candle.volume) for b in pairs] == [(0, 1, 3), (1, 2, 7)]
    harness.trade(Trade(DAY + 5 * S), Trade(DAY + 8 * S))
    assert (harness.published[-1].interval, harness.published[-1].sequence) == ("2t", 3)
    harness.trade(Trade(DAY + 9 * S))
    open_bar = next(bar for bar in harness.engine.open_bars() if bar.interval == "2t")
    assert (open_bar.number, open_bar.candle.trades) == (3, 1)
    assert [b.number for b in harness.bars("2t")] == [0, 1, 2, 3]
    again = EngineHarness(names, event_bars=Pairs)
    again.engine.restore([open_bar])
    again.trade(Trade(DAY + 20 * S), Trade(DAY + 30 * S))
    assert [(b.number, b.candle.trades) for b in again.closed if b.interval == "2t"] == [(3, 2)]


def test_without_bars_there_are_only_sessions() -> None:
    harness = EngineHarness("")
    harness.trade(Trade(DAY), Trade(DAY + 5), Trade(DAY - 1), now_ns=DAY)
    assert (harness.published, harness.closed, harness.engine.next_timer()) == ([], [], None)
    assert (harness.engine.counts.late, harness.engine.counts.bars_late) == (1, 0)
