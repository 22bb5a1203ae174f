"""A feed that is late by seconds has the same bars as a punctual one, only later."""

from __future__ import annotations

import pytest

from aggregator.bars.bar import BarState, always_covered
from aggregator.bars.event_bars import EventBars
from marketdata.intervals import Interval
from marketdata.timestamps import NS_PER_S
from tests.doubles.bars import EngineHarness, Trade

S = NS_PER_S
DAY = 16_000 * 86_400 * S
PARTIAL, EARLY, FINAL, REVISED = BarState.PARTIAL, BarState.EARLY, BarState.FINAL, BarState.REVISED


def let_clock_come_to(harness: EngineHarness, now: int) -> None:
    while (due := harness.engine.next_timer()) is not None and due <= now:
        harness.close_due(max(due, now - S))


def run_feed(lag_ns: int, seconds: int = 6) -> list[tuple[int, BarState, int]]:
    """Return the states that a feed of 50 trades per second gets, whose trades are so old."""
    harness = EngineHarness("1s", watched={"1s"})
    for number in range(seconds * 50):
        now = DAY + 100 * S + number * S // 50
        let_clock_come_to(harness, now)
        harness.trade(Trade(now - lag_ns), now_ns=now)
    let_clock_come_to(harness, now + 3600 * S)
    first = DAY + 100 * S - lag_ns
    return [((bar.start - first) // S, bar.state, bar.revision) for bar in harness.published]


@pytest.mark.parametrize("lag_s", [1, 5, 30, 59])
def test_bars_of_a_feed_that_lags_have_the_states_of_a_punctual_one(lag_s: int) -> None:
    punctual = run_feed(0)
    assert [state for number, state, _ in punctual if number == 1] == [PARTIAL] * 50 + [
        EARLY,
        FINAL,
    ]
    assert run_feed(lag_s * S) == punctual


def test_no_bar_of_a_feed_whose_lag_is_no_whole_number_is_revised() -> None:
    found = run_feed(5 * S + 137_000_000)
    assert [each for each in found if each[1] is REVISED] == []
    # The bars are cut elsewhere, and each closes once.
    assert [number for number, state, _ in found if state is FINAL] == list(range(-1, 6))


def test_a_quiet_symbol_closes_a_grace_and_its_lag_after_the_end() -> None:
    harness = EngineHarness("1s", watched={"1s"})
    harness.trade(Trade(DAY + S // 2), now_ns=DAY + S // 2 + 5 * S)
    assert harness.engine.next_timer() == DAY + S + 5 * S
    harness.close_due(DAY + 6 * S - 1)
    assert [bar.state for bar in harness.published] == [PARTIAL]
    harness.close_due(DAY + 6 * S)
    assert [bar.state for bar in harness.published] == [PARTIAL, EARLY]
    assert harness.engine.next_timer() == DAY + 8 * S
    harness.close_due(DAY + 8 * S)
    assert [bar.state for bar in harness.published] == [PARTIAL, EARLY, FINAL]


def test_a_late_trade_says_nothing_of_the_lag() -> None:
    harness = EngineHarness("1s")
    harness.trade(Trade(DAY + 30 * S), now_ns=DAY + 30 * S)
    harness.trade(Trade(DAY + 10 * S), now_ns=DAY + 30 * S)
    assert harness.engine.next_timer() == DAY + 31 * S


def test_after_a_backlog_the_clock_is_that_of_the_newest_trade() -> None:
    harness = EngineHarness("1s")
    now = DAY + 50 * S
    harness.trade(*(Trade(DAY + n * S) for n in range(51)), now_ns=now)
    assert harness.engine.next_timer() == now + S


def event_bars(symbol: str, interval: Interval) -> EventBars:
    return EventBars(
        symbol, interval, grace_ns=2 * S, coverage=always_covered, phase=lambda _start: ""
    )


@pytest.mark.parametrize("age_s", [0, 5, 60, 61, 10**7])
def test_prints_of_any_age_count_when_their_symbol_is_quiet_for_the_grace(age_s: int) -> None:
    harness = EngineHarness("20v", event_bars=event_bars)
    now = DAY + age_s * S
    prints = [Trade(DAY + n * 20_000, volume=45) for n in range(3)]
    harness.trade(*prints, now_ns=now)
    assert harness.bars("20v") == []
    harness.close_due(now + 3 * S)
    # Three prints of 45 shares fill six bars of 20, and begin one more.
    assert [bar.candle.volume for bar in harness.bars("20v")] == [20] * 6 + [15]


def test_prints_of_a_feed_that_lags_wait_for_their_place_among_the_others() -> None:
    harness = EngineHarness("2t", event_bars=event_bars)
    now = DAY + 5 * S
    harness.trade(Trade(DAY + S), now_ns=now + S)
    let_clock_come_to(harness, now + 2 * S)
    harness.trade(Trade(DAY + S // 2, price=9.0), now_ns=now + 2 * S)
    harness.close_due(now + 9 * S)
    (bar,) = harness.bars("2t")
    assert (bar.candle.open, bar.start) == (9.0, DAY + S // 2)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_what_comes_after_a_stall_counts_in_the_bars_that_the_clock_closed_meanwhile(
    size: int,
) -> None:
    harness = EngineHarness("1s,1m", watched={"1m"})
    minute = DAY + 60 * S
    harness.trade(Trade(minute - 20 * S), now_ns=minute - 20 * S)
    now = minute + S
    let_clock_come_to(harness, now)
    assert [bar.state for bar in harness.published] == [PARTIAL, EARLY]
    # In order, up to half a second before the minute's end.
    trades = [Trade(minute - 10 * S + n * S // 10, price=1.0 + n) for n in range(96)]
    for first in range(0, len(trades), size):
        harness.trade(*trades[first : first + size], now_ns=now)
    (bar,) = harness.bars("1m")
    assert (bar.state, bar.candle.trades, bar.candle.close) == (EARLY, 97, 96.0)
    state = harness.book.state("A")
    assert (state.trades, state.close, state.timestamp) == (97, 96.0, trades[-1].ts)
    # The symbol's time goes on from its newest trade.
    lag = now - trades[-1].ts
    assert harness.engine.table.lag(0) == lag + -lag % (S // 10)
    let_clock_come_to(harness, minute + 60 * S)
    assert [each.state for each in harness.closed if each.interval == "1m"] == [FINAL]
    assert {each.candle.trades for each in harness.closed if each.interval == "1s"} <= {1, 10, 6}
