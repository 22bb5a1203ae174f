"""One bar of one symbol, and all that is known about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from enum import IntEnum
from operator import attrgetter
from typing import NamedTuple

from aggregator.bars.candle import Candle
from marketdata.fields import BAR_FIELDS, VWAP
from marketdata.wire import market_data_pb2 as wire

# The interval under which the store keeps present sessions; no request can name it.
SESSION = "session"


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
    in the present epoch of the aggregator; 0: it was not.
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
    # Ticks of its time that were refused.
    refused: int = 0
    phase: str = ""
    sequence: int = 0

    def copy(self) -> Bar:
        """Return a bar of the same trades, which does not change with this one."""
        twin = Bar(*_values(self))
        twin.candle = self.candle.copy()
        return twin

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
        values = zip(_MESSAGE_NAMES, _message_values(self), strict=True)
        return wire.Bar(epoch=epoch, **dict(values))


_values = attrgetter(*(field.name for field in fields(Bar)))


def _message_fields() -> Iterator[tuple[str, str]]:
    # The names in the contract, and where a bar has the values.
    own = {field.name for field in fields(Bar)}
    for field in BAR_FIELDS:
        if field.on_wire and field.name in own:
            yield field.on_wire, field.name
        elif field.on_wire and (field.candle or field is VWAP):
            yield field.on_wire, f"candle.{field.name}"


_MESSAGE_NAMES, _PATHS = zip(*_message_fields(), strict=True)
_message_values = attrgetter(*_PATHS)
