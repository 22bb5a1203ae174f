"""The bars of a real day equal an independent computation, in whatever order its trades come."""

from __future__ import annotations

from itertools import islice

import pytest

from aggregator.bars.bar import BarKey, BarState
from tests.doubles.bars import EngineHarness, Trade
from tests.doubles.real_day import INTERVALS, MINUTES, computed, delayed
from tests.doubles.trades import needs_real_trades

pytestmark = needs_real_trades

GRACE_S, REVISE_S = 2, 900
BATCH = 1_000


@pytest.mark.parametrize("max_delay_s", [0, GRACE_S, REVISE_S])
def test_every_bar_of_every_interval_is_right(max_delay_s: int) -> None:
    harness = EngineHarness(",".join(INTERVALS), grace_s=GRACE_S, revise_s=REVISE_S)
    source = (Trade(ts, price, volume, name) for name, price, volume, ts in delayed(max_delay_s))
    ranks: dict[BarKey, tuple[int, int]] = {}
    while batch := list(islice(source, BATCH)):
        harness.trade(*batch)
        for bar in harness.published:
            assert bar.rank > ranks.get(bar.key, (0, 0)) or bar.state is BarState.EARLY
            ranks[bar.key] = bar.rank
        harness.published.clear()
    assert harness.engine.counts.bars_late == 0
    assert any(bar.state is BarState.REVISED for bar in harness.closed) == (max_delay_s > GRACE_S)
    for interval in INTERVALS:
        ends = [end for name, end in harness.completed if name == interval]
        assert ends == sorted(set(ends))
    newest = harness.newest()
    for interval in INTERVALS:
        want = computed(interval)
        found = {(k.symbol, k.start): bar for k, bar in newest.items() if k.interval == interval}
        assert found.keys() == want.keys()
        for key, bar in found.items():
            c = bar.candle
            got = (c.open, c.high, c.low, c.close, c.volume, c.trades)
            assert got == want[key][:6]
            assert c.vwap == pytest.approx(want[key][6], rel=1e-12)
    minutes = [key.symbol for key in newest if key.interval == "1m"]
    assert {symbol: minutes.count(symbol) for symbol in MINUTES} == MINUTES
