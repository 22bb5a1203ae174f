"""How far the time of a symbol is from the wall clock.

A symbol's time is its latest exchange time. While no trade comes, it goes on with the wall clock:
so a feed that is seconds late closes its bars seconds late.
"""

from __future__ import annotations

from aggregator.bars.kernel.records import Base, Tables
from aggregator.bars.kernel.session import latest_time
from marketdata.kernels import kernel_part
from marketdata.timestamps import NS_PER_S

# So much is the network's, and the grace is for it. More is a multiple of it, so that the symbols
# of a feed have their timers at the same times.
LAG_STEP_NS = NS_PER_S // 10


@kernel_part
def lag_of(now: int, latest: int) -> int:
    """Return the lag of a symbol whose time moved to ``latest`` when it was ``now``."""
    lag = now - latest
    return 0 if lag <= LAG_STEP_NS else lag + -lag % LAG_STEP_NS


@kernel_part
def measure_lag(t: Tables, row: int, ts: int) -> None:
    """Note how old a trade was when it arrived, if the symbol's time is that of the trade."""
    base: Base = t.bases[row]
    if t.state[0].now and ts == latest_time(t, row):
        base.lag = lag_of(t.state[0].now, ts)
