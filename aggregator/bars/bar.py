"""One bar of one symbol, with all that is known of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from aggregator.bars.candle import Candle
from marketdata.wire import market_data_pb2 as wire


class BarState(IntEnum):
    """How far a bar is; the numbers are those of the contract."""

    PARTIAL = wire.BAR_STATE_PARTIAL
    EARLY = wire.BAR_STATE_EARLY
    FINAL = wire.BAR_STATE_FINAL
    REVISED = wire.BAR_STATE_REVISED

    @property
    def is_closed(self) -> bool:
        """Whether only a late tick can change the bar."""
        return self >= BarState.FINAL


class Coverage(IntEnum):
    """For how much of a bar's time a producer was connected; the numbers are the contract's."""

    NO_FEED = wire.COVERAGE_NO_FEED
    PARTIAL = wire.COVERAGE_PARTIAL
    FULL = wire.COVERAGE_FULL


# From start <= time < end to how much of it had a feed.
CoverageRule = Callable[[int, int], Coverage]


def always_covered(_start: int, _end: int) -> Coverage:
    """Return that there was a feed at all times."""
    return Coverage.FULL


class BarKey(NamedTuple):
    """What names a bar; sorts by symbol, interval and time."""

    symbol: str
    interval: str
    start: int
    # Tells tick, volume and notional bars of the same start apart.
    number: int


@dataclass(slots=True)
class Bar:
    """What was traded of ``symbol`` with start <= exchange time < end.

    The candle has at least one trade. ``sequence`` is that of the last time the bar was published,
    in the present life of the aggregator; 0: it was not.
    """

    symbol: str
    interval: str
    start: int
    end: int
    candle: Candle
    number: int = 0
    state: BarState = BarState.PARTIAL
    revision: int = 0
    coverage: Coverage = Coverage.PARTIAL
    phase: str = ""
    sequence: int = 0

    def copy(self) -> Bar:
        """Return a bar of the same trades, which does not change with this one."""
        return Bar(
            self.symbol,
            self.interval,
            self.start,
            self.end,
            self.candle.copy(),
            self.number,
            self.state,
            self.revision,
            self.coverage,
            self.phase,
            self.sequence,
        )

    @property
    def key(self) -> BarKey:
        """What names the bar."""
        return BarKey(self.symbol, self.interval, self.start, self.number)

    @property
    def rank(self) -> tuple[int, int]:
        """Grows with every newer state of the same bar, never shrinks."""
        return self.revision, self.state

    def to_message(self, epoch: int) -> wire.Bar:
        """Return the bar as the contract has it."""
        candle = self.candle
        return wire.Bar(
            symbol=self.symbol,
            interval=self.interval,
            start=self.start,
            end=self.end,
            number=self.number,
            open=candle.open,
            high=candle.high,
            low=candle.low,
            close=candle.close,
            volume=candle.volume,
            trades=candle.trades,
            vwap=candle.vwap,
            state=self.state.value,
            revision=self.revision,
            coverage=self.coverage.value,
            first_timestamp=candle.first_ts,
            last_timestamp=candle.last_ts,
            sequence=self.sequence,
            epoch=epoch,
            phase=self.phase,
        )
