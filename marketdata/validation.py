"""Check and normalize ticks before anything else sees them."""

from __future__ import annotations

from enum import StrEnum
from math import inf
from typing import NamedTuple

from marketdata.errors import InvalidSymbol
from marketdata.price_rules import PriceRule, PriceRules
from marketdata.symbols import MAX_SYMBOL_LENGTH, SymbolCase, normalize_symbol
from marketdata.timestamps import (
    NS_PER_S,
    TimestampUnit,
    UnitHistory,
    nanoseconds_from,
    nanoseconds_in,
)
from marketdata.wire.market_data_pb2 import Exclude, Refusal, Tick, TickAction

_MAX_INT64 = 2**63 - 1

# No trade costs so much, or has so many units: the dearest share is below 10^6, and 10^12 of a
# currency with many zeros is a house. 9,000 trades of the largest volume fit into the sum of a day.
MAX_PRICE = 1e12
MAX_VOLUME = 10**15
# An operator may allow larger ones; 92 of the largest still fit into the sum of a day.
MAX_MAX_VOLUME = 10**17

# A volume counts 10^-decimals.
MAX_VOLUME_DECIMALS = 18
# Bytes.
MAX_TRADE_ID = 64
# All bits of Exclude.
ALL_EXCLUDES = 0b1111

# Many feeds hold a price as an int64 with up to nine decimals, and write its largest value where
# there is no price. Some multiply, some divide, and the two may differ in the last bit.
PRICE_SENTINELS = frozenset(
    value
    for decimals in range(10)
    for value in (2.0**63 / 10.0**decimals, 2.0**63 * 10.0**-decimals)
)
LEAST_SENTINEL = min(PRICE_SENTINELS)

# Spellings remembered with their normal form, so that a known symbol costs one dict lookup.
# 200,000 of at most 72 characters are about 40 MB; when full, the memory is cleared.
_MAX_REMEMBERED_SYMBOLS = 200_000


class RejectReason(StrEnum):
    """Why a tick is dropped; the value is the word under which it is counted."""

    MALFORMED = "malformed"
    EMPTY_SYMBOL = "empty_symbol"
    SYMBOL_TOO_LONG = "symbol_too_long"
    INVALID_SYMBOL = "invalid_symbol"
    PRICE_NOT_FINITE = "price_not_finite"
    PRICE_NOT_POSITIVE = "price_not_positive"
    PRICE_TOO_LARGE = "price_too_large"
    # The number that a feed writes where it has no price.
    PRICE_SENTINEL = "price_sentinel"
    VOLUME_NOT_POSITIVE = "volume_not_positive"
    VOLUME_TOO_LARGE = "volume_too_large"
    TIMESTAMP_NOT_POSITIVE = "timestamp_not_positive"
    # In no unit a time since March 1973, so probably a date or a number of days.
    TIMESTAMP_IMPLAUSIBLE = "timestamp_implausible"
    # Not in the unit of the times before it in the same file.
    TIMESTAMP_UNIT_CHANGED = "timestamp_unit_changed"
    TIMESTAMP_IN_FUTURE = "timestamp_in_future"
    TOO_MANY_SYMBOLS = "too_many_symbols"
    TOTAL_OVERFLOW = "total_overflow"
    VOLUME_DECIMALS_TOO_LARGE = "volume_decimals_too_large"
    TRADE_ID_TOO_LONG = "trade_id_too_long"
    INVALID_EXCLUDES = "invalid_excludes"
    INVALID_ACTION = "invalid_action"
    # A cancel or a correction without the id of a trade.
    MISSING_TRADE_ID = "missing_trade_id"
    # No trade with this id is remembered, or it was cancelled.
    UNKNOWN_TRADE_ID = "unknown_trade_id"
    # Its trade is older than the revise window.
    TOO_LATE_TO_AMEND = "too_late_to_amend"
    # The trade decides a price of a bar whose other trades are not all remembered.
    NOT_AMENDABLE = "not_amendable"


class ValueLimits(NamedTuple):
    """The largest values that count as real."""

    max_price: float = MAX_PRICE
    max_volume: int = MAX_VOLUME

    def max_scaled(self, decimals: int) -> int:
        """Return the largest volume that counts 10^-decimals; it fits its field."""
        largest: int = self.max_volume * 10**decimals
        return min(largest, _MAX_INT64)


DEFAULT_LIMITS = ValueLimits()


def check_values(
    price: float,
    volume: int,
    ts_ns: int,
    latest_ns: int,
    limits: ValueLimits = DEFAULT_LIMITS,
    *,
    decimals: int = 0,
    excludes: int = 0,
    price_rule: PriceRule = "positive",
) -> RejectReason | None:
    """Return why the numbers of a trade are not valid, or None.

    Args:
        price: in the symbol's currency.
        volume: in units of 10^-decimals of the instrument.
        ts_ns: exchange time.
        latest_ns: the latest exchange time that is not in the future.
        limits: the largest price and volume, in units of the instrument.
        decimals: of the volume.
        excludes: the bits of Exclude. A trade that does not move the volume may have none.
        price_rule: which prices are valid.
    """
    # One chained comparison is false for NaN too; nan <= 0 would be False and let it through.
    if not 0.0 < price <= limits.max_price or price >= LEAST_SENTINEL:
        reason = _check_price(price, limits, price_rule)
        if reason is not None:
            return reason
    if volume < 0 or (volume == 0 and not excludes & Exclude.EXCLUDE_VOLUME):
        return RejectReason.VOLUME_NOT_POSITIVE
    # Most volumes need no power.
    if volume > limits.max_volume and volume > limits.max_volume * 10**decimals:
        return RejectReason.VOLUME_TOO_LARGE
    if ts_ns <= 0:
        return RejectReason.TIMESTAMP_NOT_POSITIVE
    if ts_ns > latest_ns:
        return RejectReason.TIMESTAMP_IN_FUTURE
    return None


def _check_price(price: float, limits: ValueLimits, rule: PriceRule) -> RejectReason | None:
    # -inf is both; not finite comes first.
    if price in (inf, -inf) or price != price:  # noqa: PLR0124  only NaN differs from itself
        return RejectReason.PRICE_NOT_FINITE
    if (price <= 0.0 and rule == "positive") or (price < 0.0 and rule == "nonnegative"):
        return RejectReason.PRICE_NOT_POSITIVE
    if abs(price) in PRICE_SENTINELS:
        return RejectReason.PRICE_SENTINEL
    return RejectReason.PRICE_TOO_LARGE if abs(price) > limits.max_price else None


def check_additions(tick: Tick) -> RejectReason | None:
    """Return why the decimals, id, excludes and action of a tick are not valid, or None."""
    if tick.volume_decimals > MAX_VOLUME_DECIMALS:
        return RejectReason.VOLUME_DECIMALS_TOO_LARGE
    if len(tick.trade_id) > MAX_TRADE_ID:
        return RejectReason.TRADE_ID_TOO_LONG
    if tick.excludes & ~ALL_EXCLUDES:
        return RejectReason.INVALID_EXCLUDES
    if action := tick.action:
        if action not in TickAction.values():
            return RejectReason.INVALID_ACTION
        if not tick.trade_id:
            return RejectReason.MISSING_TRADE_ID
    return None


class TickRules:
    """Apply the rules of one server to ticks.

    :attr:`conversions` counts the ticks whose exchange time was not in nanoseconds.

    Args:
        timestamp_unit: of the exchange times that producers send.
        max_future_skew_s: how far ahead of the clock they may be.
        symbol_case: whether symbols stay as they are.
        limits: the largest price and volume.
        one_unit: whether a time is refused that is not in the unit of those before it.
        prices: which prices are valid; None: those above 0.
    """

    def __init__(
        self,
        *,
        timestamp_unit: TimestampUnit,
        max_future_skew_s: float,
        symbol_case: SymbolCase = "preserve",
        limits: ValueLimits = DEFAULT_LIMITS,
        one_unit: bool = False,
        prices: PriceRules | None = None,
    ) -> None:
        self.timestamp_unit: TimestampUnit = timestamp_unit
        self.symbol_case: SymbolCase = symbol_case
        self.limits = limits
        self.prices = prices or PriceRules()
        self._one_unit = one_unit
        self._ns_from = nanoseconds_from(timestamp_unit)
        self._max_future_skew_ns = int(max_future_skew_s * NS_PER_S)
        self._normal_symbols: dict[str, str] = {}
        self.conversions = 0

    @property
    def remembered_symbols(self) -> int:
        """How many spellings of symbols are held in memory."""
        return len(self._normal_symbols)

    def latest_ns(self, now_ns: int) -> int:
        """Return the latest exchange time that is not in the future; it fits its field."""
        return min(now_ns + self._max_future_skew_ns, _MAX_INT64)

    def normalize(
        self, tick: Tick, now_ns: int, units: UnitHistory | None = None
    ) -> RejectReason | None:
        """Bring ``tick`` into normal form in place, or return why it is dropped.

        Normal form: symbol trimmed, exchange time in nanoseconds, ingest time ``now_ns``.
        """
        outcome = self.amend(tick, now_ns, units)
        if isinstance(outcome, RejectReason):
            return outcome
        tick.ingest_timestamp = now_ns
        return None

    def amend(
        self, tick: Tick, now_ns: int, units: UnitHistory | None = None
    ) -> RejectReason | bool:
        """Normalize ``tick`` as :meth:`normalize` does, except for the ingest time.

        Args:
            tick: the tick.
            now_ns: the clock.
            units: the times before it on its connection.

        Returns:
            Why ``tick`` is dropped, else whether anything had to be changed.
        """
        raw = tick.symbol
        try:
            symbol = self.normal_symbol(raw)
        except InvalidSymbol as exc:
            return RejectReason(exc.reason)
        sent = tick.exchange_timestamp
        unit_ns = 1 if sent >= self._ns_from else nanoseconds_in(sent, self.timestamp_unit)
        reason = self._check_tick(tick, symbol, sent * unit_ns, self.latest_ns(now_ns))
        ts_ns = self._settle(reason, sent, unit_ns, units)
        if isinstance(ts_ns, RejectReason):
            return ts_ns
        amended = False
        if ts_ns != sent:
            self.conversions += 1
            tick.exchange_timestamp = ts_ns
            amended = True
        if symbol != raw:
            tick.symbol = symbol
            amended = True
        return amended

    def check(
        self,
        price: float,
        volume: int,
        timestamp: int,
        latest_ns: int,
        units: UnitHistory | None = None,
        *,
        decimals: int = 0,
        excludes: int = 0,
        price_rule: PriceRule = "positive",
    ) -> int | RejectReason:
        """Return the exchange time in nanoseconds, or why the numbers of a trade are not valid.

        Args:
            price: in the symbol's currency.
            volume: in units of 10^-decimals of the instrument.
            timestamp: the exchange time as it was sent.
            latest_ns: the latest exchange time that is not in the future.
            units: the times before it in its file or on its connection.
            decimals: of the volume, which counts 10^-decimals.
            excludes: the bits of Exclude.
            price_rule: which prices are valid.
        """
        # Most times need no conversion.
        unit_ns = (
            1 if timestamp >= self._ns_from else nanoseconds_in(timestamp, self.timestamp_unit)
        )
        ts_ns = timestamp * unit_ns
        reason = check_values(
            price,
            volume,
            ts_ns,
            latest_ns,
            self.limits,
            decimals=decimals,
            excludes=excludes,
            price_rule=price_rule,
        )
        return self._settle(reason, timestamp, unit_ns, units)

    def _check_tick(
        self, tick: Tick, symbol: str, ts_ns: int, latest_ns: int
    ) -> RejectReason | None:
        decimals, excludes, action = tick.volume_decimals, tick.excludes, tick.action
        if decimals or excludes or action or tick.trade_id:
            reason = check_additions(tick)
            if reason is not None:
                return reason
            if action == TickAction.TICK_ACTION_CANCEL:
                # It says nothing of price and volume.
                return check_values(1.0, 1, ts_ns, latest_ns)
        price = tick.price
        return check_values(
            price,
            tick.volume,
            ts_ns,
            latest_ns,
            self.limits,
            decimals=decimals,
            excludes=excludes,
            # Any rule takes prices above 0.
            price_rule="positive" if price > 0.0 else self.prices.of(symbol),
        )

    # Returns the exchange time in nanoseconds, or why the tick is not valid.
    def _settle(
        self, reason: RejectReason | None, timestamp: int, unit_ns: int, units: UnitHistory | None
    ) -> int | RejectReason:
        if reason is not None:
            if reason is RejectReason.TIMESTAMP_NOT_POSITIVE and timestamp > 0:
                return RejectReason.TIMESTAMP_IMPLAUSIBLE
            return reason
        if units is not None and unit_ns != units.unit_ns:
            if self._one_unit and units.unit_ns:
                return RejectReason.TIMESTAMP_UNIT_CHANGED
            units.note(unit_ns)
        return timestamp * unit_ns

    def refusal(self, tick: Tick, now_ns: int) -> Refusal | None:
        """Return what to remember of a tick that is dropped; None: its symbol or time is unknown.

        Something else is wrong, so its bar lacks a trade, or what cancels or corrects one.
        """
        latest_ns = self.latest_ns(now_ns)
        ts_ns = self.valid_time(tick.exchange_timestamp, latest_ns)
        if ts_ns is None:
            return None
        try:
            symbol = self.normal_symbol(tick.symbol)
        except InvalidSymbol:
            return None
        reason = self._check_tick(tick, symbol, ts_ns, latest_ns)
        if reason is None:
            return None
        return Refusal(symbol=symbol, exchange_timestamp=ts_ns, reason=reason)

    def valid_time(self, timestamp: int, latest_ns: int) -> int | None:
        """Return an exchange time in nanoseconds; None: it is not valid."""
        ts_ns = timestamp * nanoseconds_in(timestamp, self.timestamp_unit)
        return ts_ns if 0 < ts_ns <= latest_ns else None

    def normal_symbol(self, raw: str) -> str:
        """Return ``raw`` in normal form.

        Raises:
            InvalidSymbol: it is not a symbol.
        """
        symbol = self._normal_symbols.get(raw)
        return self._learn_symbol(raw) if symbol is None else symbol

    def _learn_symbol(self, raw: str) -> str:
        symbol = normalize_symbol(raw, self.symbol_case)
        # Only short spellings are remembered: a valid one may be padded with a megabyte of spaces.
        if len(raw) <= MAX_SYMBOL_LENGTH + 8:
            if len(self._normal_symbols) >= _MAX_REMEMBERED_SYMBOLS:
                self._normal_symbols.clear()
            self._normal_symbols[raw] = symbol
        return symbol
