"""Keep the OHLCV state of every symbol, decided by event time.

Any arrival order of the same ticks gives the same state: open and close go by (exchange time,
sequence), ties fall to arrival; high, low, volume and trades do not depend on order, vwap to 1e-12.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf

from aggregator.sessions import RuleFor, SessionRule
from marketdata.errors import InvalidSymbol
from marketdata.symbols import normalize_symbol
from marketdata.validation import RejectReason, check_values
from marketdata.wire.market_data_pb2 import Aggregate, Tick

MAX_INT64 = 2**63 - 1


class SymbolState:
    """The present session of one symbol."""

    __slots__ = (
        "_message",
        "close",
        "first_sequence",
        "first_ts",
        "high",
        "last_sequence",
        "last_ts",
        "low",
        "notional",
        "notional_error",
        "open",
        "rule",
        "sequence",
        "session_end",
        "session_start",
        "symbol",
        "trades",
        "volume",
    )

    def __init__(self, symbol: str, rule: SessionRule) -> None:
        self.symbol = symbol
        self.rule = rule
        # Counts published states; it goes on across sessions.
        self.sequence = 0
        self._message: Aggregate | None = None
        # Before every session: the first tick starts one.
        self.session_start = self.session_end = 0

    def start_session(self, start: int, end: int) -> None:
        """Forget the former session; the next tick is the first of this one."""
        self.session_start, self.session_end = start, end
        self.open = self.close = 0.0
        self.high, self.low = 0.0, inf
        self.volume = self.trades = 0
        # Sum of price x volume with the rounding error kept beside it (Neumaier): a plain sum of
        # a million terms is off by up to 1e-10 and differs with their order.
        self.notional = self.notional_error = 0.0
        self.first_ts = self.first_sequence = MAX_INT64 + 1
        self.last_ts = self.last_sequence = -1

    def add(self, price: float, volume: int, ts: int, sequence: int) -> bool:
        """Take one tick of the present session in; return False if a total would overflow."""
        notional, before = price * volume, self.notional
        total, after = self.volume + volume, before + notional
        if total > MAX_INT64 or after == inf:
            return False
        self.volume = total
        self.notional = after
        larger, smaller = (before, notional) if before >= notional else (notional, before)
        self.notional_error += (larger - after) + smaller
        self.trades += 1
        # Not max() and min(): a call costs more than the comparison.
        if price > self.high:  # noqa: PLR1730
            self.high = price
        if price < self.low:  # noqa: PLR1730
            self.low = price
        if ts > self.last_ts or (ts == self.last_ts and sequence >= self.last_sequence):
            self.close, self.last_ts, self.last_sequence = price, ts, sequence
        if ts < self.first_ts or (ts == self.first_ts and sequence < self.first_sequence):
            self.open, self.first_ts, self.first_sequence = price, ts, sequence
        return True

    @property
    def vwap(self) -> float:
        """Sum of price x volume divided by volume."""
        vwap = (self.notional + self.notional_error) / self.volume
        # Rounding must not carry the mean out of its range.
        return min(max(vwap, self.low), self.high)

    def published(self) -> None:
        """Count one more published state."""
        self.sequence += 1
        self._message = None

    def message(self, epoch: int) -> Aggregate:
        """Return the state as a message, built once for all who want it; do not change it."""
        if self._message is None:
            self._message = Aggregate(
                symbol=self.symbol,
                open=self.open,
                high=self.high,
                low=self.low,
                close=self.close,
                volume=self.volume,
                timestamp=self.last_ts,
                trades=self.trades,
                vwap=self.vwap,
                session_start=self.session_start,
                sequence=self.sequence,
                epoch=epoch,
            )
        return self._message


@dataclass(slots=True)
class Applied:
    """What became of some ticks."""

    accepted: int = 0
    rejections: list[tuple[int, RejectReason]] = field(default_factory=list)
    changed: set[str] = field(default_factory=set)


class Book:
    """Apply ticks to the state of their symbols.

    :attr:`late` counts ticks of an earlier session than their symbol's present one: they are
    accepted and change nothing here. :attr:`out_of_session` counts those between two sessions,
    likewise.
    """

    def __init__(self, *, rule_for: RuleFor, max_symbols: int, epoch: int) -> None:
        self._rule_for = rule_for
        self._max_symbols = max_symbols
        self.epoch = epoch
        self._states: dict[str, SymbolState] = {}
        self._symbols: list[str] = []
        self._symbols_sorted = True
        self.late = 0
        self.out_of_session = 0

    def __len__(self) -> int:
        return len(self._states)

    def aggregate(self, symbol: str) -> Aggregate | None:
        """Return the present state of ``symbol``, or None before its first session."""
        state = self._states.get(symbol)
        return state.message(self.epoch) if state is not None and state.sequence else None

    def state(self, symbol: str) -> Aggregate:
        """Return the present state of a symbol that has one."""
        return self._states[symbol].message(self.epoch)

    def symbols(self) -> list[str]:
        """Return all symbols in byte order; do not change the list."""
        if not self._symbols_sorted:
            self._symbols.sort()
            self._symbols_sorted = True
        return self._symbols

    def apply(self, ticks: Iterable[Tick], first_sequence: int, latest_ns: int) -> Applied:
        """Apply ticks in the order of their arrival and count one new state per changed symbol.

        Args:
            ticks: normalized ticks.
            first_sequence: sequence of the first; the others follow without a gap.
            latest_ns: the latest exchange time that is not in the future.
        """
        # Attribute access on a generated message is 0.05 us, a whole tick about 1.2 us.
        applied = Applied()
        states, changed = self._states, applied.changed
        for sequence, tick in enumerate(ticks, first_sequence):
            price, volume, ts = tick.price, tick.volume, tick.exchange_timestamp
            reason = check_values(price, volume, ts, latest_ns)
            if reason is not None:
                applied.rejections.append((sequence, reason))
                continue
            symbol = tick.symbol
            state = states.get(symbol) or self._open(symbol, price * volume)
            if isinstance(state, RejectReason):
                applied.rejections.append((sequence, state))
                continue
            if ts >= state.session_end:
                if price * volume == inf:
                    # A session begins with a tick that counts, or its state would be empty.
                    applied.rejections.append((sequence, RejectReason.TOTAL_OVERFLOW))
                    continue
                session = state.rule.session(ts)
                if session is None:
                    self.out_of_session += 1
                    applied.accepted += 1
                    continue
                state.start_session(session.start, session.end)
            if ts < state.session_start:
                self.late += 1
            elif state.add(price, volume, ts, sequence):
                changed.add(symbol)
            else:
                applied.rejections.append((sequence, RejectReason.TOTAL_OVERFLOW))
                continue
            applied.accepted += 1
        for symbol in changed:
            states[symbol].published()
        return applied

    def _open(self, symbol: str, notional: float) -> SymbolState | RejectReason:
        if notional == inf:
            return RejectReason.TOTAL_OVERFLOW
        # Known symbols were checked here once, so only new ones cost the pattern.
        try:
            if normalize_symbol(symbol) != symbol:
                return RejectReason.INVALID_SYMBOL
        except InvalidSymbol as exc:
            return RejectReason(exc.reason)
        if len(self._states) >= self._max_symbols:
            return RejectReason.TOO_MANY_SYMBOLS
        state = self._states[symbol] = SymbolState(symbol, self._rule_for(symbol))
        self._symbols.append(symbol)
        self._symbols_sorted = False
        return state
