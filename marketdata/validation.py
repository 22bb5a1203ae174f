"""Check and normalize ticks before anything else sees them."""

from __future__ import annotations

from enum import StrEnum
from math import inf

from marketdata.errors import InvalidSymbol
from marketdata.symbols import MAX_SYMBOL_LENGTH, normalize_symbol
from marketdata.timestamps import NS_PER_S, TimestampUnit, nanoseconds_from, to_nanoseconds
from marketdata.wire.market_data_pb2 import Tick

_MAX_INT64 = 2**63 - 1

# Spellings remembered with their normal form, so that a known symbol costs one dict lookup.
# 200,000 of at most 40 characters are about 30 MB; when full, the memory is cleared.
_MAX_REMEMBERED_SYMBOLS = 200_000


class RejectReason(StrEnum):
    """Why a tick is dropped; the value is the word under which it is counted."""

    MALFORMED = "malformed"
    EMPTY_SYMBOL = "empty_symbol"
    SYMBOL_TOO_LONG = "symbol_too_long"
    INVALID_SYMBOL = "invalid_symbol"
    PRICE_NOT_FINITE = "price_not_finite"
    PRICE_NOT_POSITIVE = "price_not_positive"
    VOLUME_NOT_POSITIVE = "volume_not_positive"
    TIMESTAMP_NOT_POSITIVE = "timestamp_not_positive"
    TIMESTAMP_IN_FUTURE = "timestamp_in_future"
    TOO_MANY_SYMBOLS = "too_many_symbols"
    TOTAL_OVERFLOW = "total_overflow"


def check_values(price: float, volume: int, ts_ns: int, latest_ns: int) -> RejectReason | None:
    """Return why the numbers of a tick are not valid, or None.

    Args:
        price: in the symbol's currency.
        volume: in units of the instrument.
        ts_ns: exchange time.
        latest_ns: the latest exchange time that is not in the future.
    """
    # One chained comparison is false for NaN too; nan <= 0 would be False and let it through.
    if not 0.0 < price < inf:
        # -inf is both; not finite comes first.
        if price in (inf, -inf) or price != price:  # noqa: PLR0124  only NaN differs from itself
            return RejectReason.PRICE_NOT_FINITE
        return RejectReason.PRICE_NOT_POSITIVE
    if volume <= 0:
        return RejectReason.VOLUME_NOT_POSITIVE
    if ts_ns <= 0:
        return RejectReason.TIMESTAMP_NOT_POSITIVE
    if ts_ns > latest_ns:
        return RejectReason.TIMESTAMP_IN_FUTURE
    return None


class TickRules:
    """Apply the rules of one server to ticks.

    :attr:`conversions` counts the ticks whose exchange time was not in nanoseconds.
    """

    def __init__(self, *, timestamp_unit: TimestampUnit, max_future_skew_s: float) -> None:
        self.timestamp_unit: TimestampUnit = timestamp_unit
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

    def normalize(self, tick: Tick, now_ns: int) -> RejectReason | None:
        """Bring ``tick`` into normal form in place, or return why it is dropped.

        Normal form: symbol trimmed and upper-cased, exchange time in nanoseconds, ingest time
        ``now_ns``.
        """
        outcome = self.amend(tick, now_ns)
        if isinstance(outcome, RejectReason):
            return outcome
        tick.ingest_timestamp = now_ns
        return None

    def amend(self, tick: Tick, now_ns: int) -> RejectReason | bool:
        """Normalize ``tick`` as :meth:`normalize` does, except for the ingest time.

        Returns:
            Why ``tick`` is dropped, else whether anything had to be changed.
        """
        raw = tick.symbol
        symbol = self._normal_symbols.get(raw)
        if symbol is None:
            try:
                symbol = self._learn_symbol(raw)
            except InvalidSymbol as exc:
                return RejectReason(exc.reason)
        sent = tick.exchange_timestamp
        # Most times need no conversion, and its two calls cost a tenth of a tick.
        ts_ns = (
            sent
            if sent >= self._ns_from or sent <= 0
            else to_nanoseconds(sent, self.timestamp_unit)
        )
        reason = check_values(tick.price, tick.volume, ts_ns, self.latest_ns(now_ns))
        if reason is not None:
            return reason
        amended = False
        if ts_ns != sent:
            self.conversions += 1
            tick.exchange_timestamp = ts_ns
            amended = True
        if symbol != raw:
            tick.symbol = symbol
            amended = True
        return amended

    def _learn_symbol(self, raw: str) -> str:
        symbol = normalize_symbol(raw)
        # Only short spellings are remembered: a valid one may be padded with a megabyte of spaces.
        if len(raw) <= MAX_SYMBOL_LENGTH + 8:
            if len(self._normal_symbols) >= _MAX_REMEMBERED_SYMBOLS:
                self._normal_symbols.clear()
            self._normal_symbols[raw] = symbol
        return symbol
