"""Turn bars into rows of the table and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aggregator.bars.bar import Bar, BarState, Coverage
from aggregator.bars.candle import Candle
from aggregator.store.schema import bars
from marketdata.wire import market_data_pb2 as wire

Row = tuple[Any, ...]

COLUMNS = tuple(column.name for column in bars.columns)
_EXPECTED = (
    *("symbol", "interval", "start", "number", "end", "open", "high", "low", "close"),
    *("volume", "trades", "notional", "notional_error"),
    *("first_ts", "first_sequence", "last_ts", "last_sequence"),
    *("state", "revision", "coverage", "phase"),
)
# The functions below go by position: it costs a third of going by name.
if COLUMNS != _EXPECTED:
    raise AssertionError(COLUMNS)


def to_row(bar: Bar) -> Row:
    """Return the bar in the order of the table's columns."""
    candle = bar.candle
    return (
        bar.symbol,
        bar.interval,
        bar.start,
        bar.number,
        bar.end,
        candle.open,
        candle.high,
        candle.low,
        candle.close,
        candle.volume,
        candle.trades,
        candle.notional,
        candle.notional_error,
        candle.first_ts,
        candle.first_sequence,
        candle.last_ts,
        candle.last_sequence,
        bar.state.value,
        bar.revision,
        bar.coverage.value,
        bar.phase,
    )


def to_bar(row: Sequence[Any]) -> Bar:
    """Return the bar of a row, so that it can go on where it was."""
    candle = Candle()
    (
        symbol,
        interval,
        start,
        number,
        end,
        candle.open,
        candle.high,
        candle.low,
        candle.close,
        candle.volume,
        candle.trades,
        candle.notional,
        candle.notional_error,
        candle.first_ts,
        candle.first_sequence,
        candle.last_ts,
        candle.last_sequence,
        state,
        revision,
        coverage,
        phase,
    ) = row
    return Bar(
        symbol,
        interval,
        start,
        end,
        candle,
        number,
        BarState(state),
        revision,
        Coverage(coverage),
        phase,
    )


def to_message(row: Sequence[Any]) -> wire.Bar:
    """Return a stored bar as the contract has it; it belongs to no life of the aggregator."""
    (
        symbol,
        interval,
        start,
        number,
        end,
        open_,
        high,
        low,
        close,
        volume,
        trades,
        notional,
        notional_error,
        first_ts,
        _,
        last_ts,
        _,
        state,
        revision,
        coverage,
        phase,
    ) = row
    return wire.Bar(
        symbol=symbol,
        interval=interval,
        start=start,
        end=end,
        number=number,
        open=open_,
        high=high,
        low=low,
        close=close,
        volume=volume,
        trades=trades,
        # As Candle.vwap has it.
        vwap=min(max((notional + notional_error) / volume, low), high),
        state=state,
        revision=revision,
        coverage=coverage,
        first_timestamp=first_ts,
        last_timestamp=last_ts,
        phase=phase,
    )
