"""Late trades count at once, however they are gathered, and every bar changes once in a batch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.bars.bar import BarKey, BarState
from marketdata.timestamps import NS_PER_S
from tests.doubles.bars import EngineHarness, Trade, assert_bars, expected_bars, said

S = NS_PER_S
# Some seconds after a minute began, so that some late trades are of the minute before.
START = 16_000 * 86_400 * S + 3600 * S + 5 * S
NAMES = ("1s", "2s", "3s", "1m", "1h", "1d")
INTERVALS = ",".join(NAMES)

# A feed whose time goes on by some 0.1 s with each trade, and whose trades are up to 12 s late.
late_feeds = st.lists(
    st.tuples(
        st.integers(0, S // 4),
        st.sampled_from([0, 0, S, 2 * S, 5 * S]) | st.integers(0, 12 * S),
        st.integers(1, 1_000),
        st.integers(1, 100),
        st.sampled_from("AAB"),
    ),
    min_size=1,
    max_size=60,
).map(
    lambda steps: [
        Trade(START + sum(step for step, *_ in steps[: n + 1]) - late, price / 8, volume, symbol)
        for n, (_, late, price, volume, symbol) in enumerate(steps)
    ]
)


def split(trades: Sequence[Trade], data: st.DataObject) -> list[Sequence[Trade]]:
    """Cut trades into batches."""
    cuts = sorted(data.draw(st.sets(st.integers(1, len(trades)))) | {0, len(trades)})
    return [trades[a:b] for a, b in pairwise(cuts)]


@given(late_feeds, st.data())
def test_whoever_reads_after_a_batch_sees_all_its_late_trades(
    made: list[Trade], data: st.DataObject
) -> None:
    harness = EngineHarness(INTERVALS, watched=NAMES)
    came: list[tuple[int, Trade]] = []
    for batch in split(made, data):
        harness.trade(*batch)
        came += enumerate(batch, len(came) + 1)
        shown = {bar.key: bar for bar in harness.published}
        for name in NAMES:
            expected = expected_bars(came, name)
            found = {
                (symbol, bar.start): bar
                for symbol in {trade.symbol for _, trade in came}
                for bar in harness.bars(name, symbol)
            }
            assert_bars(found, expected)
            # What was published last of each bar is the same.
            for (symbol, start), bar in found.items():
                sent = shown[BarKey(symbol, name, start, 0)]
                assert said(sent)[:-1] == said(bar)[:-1]
        for (symbol, _), day in expected_bars(came, "1d").items():
            state = harness.book.state(symbol)
            assert (state.open, state.close) == (day.open, day.close)
            assert (state.high, state.low) == (day.high, day.low)
            assert (state.volume, state.trades) == (day.volume, day.trades)
            assert state.vwap == pytest.approx(float(day.vwap), rel=1e-12)


@given(late_feeds, st.data())
def test_any_batches_give_the_same_bars_and_each_changes_once_in_a_batch(
    made: list[Trade], data: st.DataObject
) -> None:
    whole, cut = EngineHarness(INTERVALS), EngineHarness(INTERVALS)
    whole.trade(*made)
    for batch in split(made, data):
        before = len(cut.closed)
        cut.trade(*batch)
        keys = [(bar.key, bar.state) for bar in cut.closed[before:]]
        # A bar that closes and is revised in the same batch is published twice.
        assert len(set(keys)) == len(keys)
    bars = [{key: said(bar)[:-1] for key, bar in each.newest().items()} for each in (whole, cut)]
    assert bars[0] == bars[1]


def test_late_trades_of_several_seconds_are_one_revision_of_each() -> None:
    harness = EngineHarness("1s,1m", watched=("1s",))
    harness.trade(*(Trade(START + n * S) for n in range(10)))
    late = [Trade(START + n % 5 * S + n) for n in range(1, 51)]
    harness.published.clear()
    harness.trade(*late)
    revised = [b for b in harness.published if b.state is BarState.REVISED]
    # In the order in which the first late trade of each came.
    assert [(b.start - START) // S for b in revised] == [1, 2, 3, 4, 0]
    assert {(b.revision, b.candle.trades) for b in revised} == {(1, 11)}
    assert harness.bars("1m")[0].candle.trades == 60


def test_a_bar_that_another_symbol_displaced_takes_no_more_late_trades() -> None:
    harness = EngineHarness("1s", max_closed=3)
    harness.trade(*(Trade(START + n * S) for n in range(6)))
    harness.trade(Trade(START + S), Trade(START + S + 1))
    assert harness.engine.counts.bars_evicted == 0
    harness.trade(*(Trade(START + n * S, symbol="B") for n in range(6)))
    harness.trade(Trade(START + S + 2), Trade(START + S + 3))
    assert harness.engine.counts.bars_evicted == 2
    assert max(b.candle.trades for b in harness.closed if b.symbol == "A") == 3
    assert harness.book.state("A").trades == 10


@given(late_feeds, st.data())
def test_bars_that_the_wall_clock_closes_have_the_late_trades(
    made: list[Trade], data: st.DataObject
) -> None:
    harness = EngineHarness(INTERVALS)
    latest = 0
    for batch in split(made, data):
        latest = max(latest, *(trade.ts for trade in batch))
        harness.trade(*batch, now_ns=latest)
        harness.close_due(latest + data.draw(st.sampled_from([0, S, 3 * S, 60 * S])))
    newest = harness.newest()
    for name in NAMES:
        found = {(k.symbol, k.start): bar for k, bar in newest.items() if k.interval == name}
        assert_bars(found, expected_bars(list(enumerate(made, 1)), name))
