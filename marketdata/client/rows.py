# Written by `make fields` from marketdata/fields.py.
"""What clients read: aggregates and bars.

A time is in nanoseconds since 1970 in UTC; the property without ``_ns`` is the same as a datetime,
cut to the microsecond.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from marketdata.client.times import to_datetime


@dataclass(frozen=True, slots=True)
class Aggregate:
    """The state of one symbol in its session. None: nothing is known."""

    symbol: str
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: Decimal | None
    # exchange time of close
    timestamp_ns: int | None
    # trades of the session
    trades: int | None
    # volume-weighted average price
    vwap: float | None
    # whether coverage is full and no tick of its time was refused
    complete: bool | None
    # for how much of the session, so far, a producer was connected
    coverage: Literal["no_feed", "partial", "full"] | None
    # number of ticks of its time that were refused
    refused: int | None
    # counts the published states within one epoch: 1, 2, 3, ...
    sequence: int | None
    # names one run of the aggregator's state; sequences compare only within one epoch
    epoch: int | None
    # X-Data-Status of the answer. "fallback": nothing is known; "last": the last known value, of
    # age_s seconds ago. None: it came in a live stream.
    data_status: Literal["live", "fallback", "last"] | None = None
    age_s: float | None = None

    @property
    def timestamp(self) -> datetime | None:
        """Return the exchange time of close."""
        return None if self.timestamp_ns is None else to_datetime(self.timestamp_ns)


@dataclass(frozen=True, slots=True)
class Bar:
    """What was traded of one symbol with start <= exchange time < end."""

    symbol: str
    interval: str
    # start of the bar
    start_ns: int
    # end of the bar; of tick, volume and notional bars the time of the last trade
    end_ns: int
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: Decimal
    # number of trades
    trades: int
    # volume-weighted average price
    vwap: float | None
    # partial: its end has not passed; early: its grace has not; revised: a late tick changed it
    # after it was final
    state: Literal["partial", "early", "final", "revised"]
    # how often it changed after it was final
    revision: int
    # whether coverage is full and no tick of its time was refused
    complete: bool
    # for how much of its time a producer was connected
    coverage: Literal["no_feed", "partial", "full"]
    # number of ticks of its time that were refused
    refused: int
    # why it has no trades of its own; null: it has
    filler: Literal["no_trades", "no_feed", "refused"] | None
    # pre, regular, post or closed, where the symbol has a calendar
    phase: str | None
    # tells tick, volume and notional bars of the same start apart
    number: int
    # counts the published states within one epoch: 1, 2, 3, ...
    sequence: int
    # names one run of the aggregator's state; sequences compare only within one epoch
    epoch: int

    @property
    def start(self) -> datetime:
        """Return the start of the bar."""
        return to_datetime(self.start_ns)

    @property
    def end(self) -> datetime:
        """Return the end of the bar."""
        return to_datetime(self.end_ns)
