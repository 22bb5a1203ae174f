"""What the terminal shows of a stream: a row for each symbol, and whether it is current."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from rich.table import Table
from rich.text import Text

from marketdata.client.live.events import Event, Gap, Live, Stale, Update
from marketdata.client.live.wanted import ALL
from marketdata.client.rows import Aggregate

UNKNOWN = "-"
_COLUMNS = ("symbol", "last", "change", "open", "high", "low", "vwap", "volume", "trades")


class Board:
    """The last state of each symbol.

    Args:
        url: the address of the gateway.
        symbols: those that have a row from the beginning.
    """

    def __init__(self, url: str, symbols: Sequence[str]) -> None:
        self._url = url
        self._states: dict[str, Aggregate | None] = {
            symbol: None for symbol in symbols if symbol != ALL
        }
        self._has_all = ALL in symbols
        # 1: the last change of the price was upwards, -1: downwards.
        self._directions: dict[str, int] = {}
        self._problem = "connecting"
        self._lost: set[str] = set()

    def take(self, event: Event[Any]) -> None:
        """Show an event from now on."""
        match event:
            case Update(data=Aggregate() as state):
                before = self._states.get(state.symbol)
                if before is not None and None not in (before.close, state.close):
                    change = (state.close or 0) - (before.close or 0)
                    if change:
                        self._directions[state.symbol] = 1 if change > 0 else -1
                self._states[state.symbol] = state
            case Gap(symbol=symbol):
                self._lost.add(symbol)
            case Stale(reason=reason, problem=problem):
                self._problem = f"old prices: no {reason}: {problem}"
            case Live():
                self._problem = ""

    def table(self, rows: int) -> Table:
        """Return what to show, with at most so many symbols."""
        table = Table(title=self._title(), title_justify="left", expand=False)
        for name in _COLUMNS:
            table.add_column(name, justify="left" if name == "symbol" else "right", no_wrap=True)
        table.add_column("time UTC", no_wrap=True)
        symbols = sorted(self._states) if self._has_all else list(self._states)
        for symbol in symbols[:rows]:
            table.add_row(*self._row(symbol), style="dim" if self._problem else None)
        if hidden := len(symbols[rows:]):
            table.caption = f"and {hidden} more, which need a higher window"
        return table

    def line(self, event: Event[Any]) -> str | None:
        """Return an event as a line, for a reader that is no terminal."""
        match event:
            case Update(data=Aggregate() as state):
                when = UNKNOWN if state.timestamp is None else state.timestamp.isoformat()
                volume = UNKNOWN if state.volume is None else f"{state.volume:f}"
                return f"{when} {state.symbol} {_price(state.close)} volume {volume}"
            case Gap(symbol=symbol, missed=missed):
                return f"{symbol}: {missed if missed is not None else 'some'} states were lost"
            case Stale(reason=reason, problem=problem):
                return f"old prices: no {reason}: {problem}"
            case Live():
                return "live"
        return None

    def _title(self) -> Text:
        # Texts, not markup: a symbol may have brackets.
        state = Text(self._problem, "bold red") if self._problem else Text("live", "bold green")
        title = Text.assemble(self._url, "  ", state)
        if self._lost:
            title.append(f"  states of {len(self._lost)} symbols were lost", "yellow")
        return title

    def _row(self, symbol: str) -> list[Text]:
        state = self._states[symbol]
        if state is None:
            return [Text(symbol), *(Text(UNKNOWN) for _ in _COLUMNS)]
        style = {1: "green", -1: "red"}.get(self._directions.get(symbol, 0), "")
        when = UNKNOWN if state.timestamp is None else f"{state.timestamp:%H:%M:%S.%f}"[:-3]
        return [
            Text(symbol, "bold"),
            Text(_price(state.close), style),
            Text(_change(state.open, state.close)),
            *(Text(_price(each)) for each in (state.open, state.high, state.low)),
            Text(UNKNOWN if state.vwap is None else f"{state.vwap:,.4f}"),
            Text(_size(state.volume)),
            Text(UNKNOWN if state.trades is None else f"{state.trades:,}"),
            Text(when),
        ]


def _price(price: float | None) -> str:
    # The shortest digits that read back to the same value.
    return UNKNOWN if price is None else f"{price:,}"


def _size(size: Decimal | None) -> str:
    return UNKNOWN if size is None else f"{size:,f}"


def _change(first: float | None, last: float | None) -> str:
    # A change from zero or from a negative price has no percentage.
    if first is None or last is None or first <= 0:
        return UNKNOWN
    return f"{(last - first) / first:+.2%}"
