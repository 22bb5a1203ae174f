"""Which ticks pass, what becomes of their symbols and times, and why others do not."""

from __future__ import annotations

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.errors import InvalidSymbol
from marketdata.symbols import normalize_symbol
from marketdata.timestamps import (
    NS_PER_S,
    TimestampUnit,
    guess_unit,
    nanoseconds_from,
    to_nanoseconds,
)
from marketdata.validation import RejectReason, TickRules
from marketdata.wire.market_data_pb2 import Tick

NOW = 1_735_201_234_567_000_000
SKEW_S = 60


def make_rules(unit: TimestampUnit = "auto") -> TickRules:
    return TickRules(timestamp_unit=unit, max_future_skew_s=SKEW_S)


def make_tick(
    symbol: str = "AAPL", price: float = 1.5, volume: int = 1, exchange_timestamp: int = NOW
) -> Tick:
    return Tick(symbol=symbol, price=price, volume=volume, exchange_timestamp=exchange_timestamp)


@pytest.mark.parametrize(
    ("raw", "symbol"),
    [
        ("AAPL", "AAPL"),
        (" aApL ", "AAPL"),
        ("\t\n\r\v\fibm\n", "IBM"),
        ("brk.b", "BRK.B"),
        ("BRK/B", "BRK/B"),
        ("^gspc", "^GSPC"),
        ("eur/usd", "EUR/USD"),
        ("es=f", "ES=F"),
        ("$x", "$X"),
        (".inx", ".INX"),
        ("7203", "7203"),
        ("A_-:@+", "A_-:@+"),
        ("A" * 32, "A" * 32),
    ],
)
def test_symbols_are_trimmed_and_upper_cased(raw: str, symbol: str) -> None:
    assert normalize_symbol(raw) == symbol


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("", "empty_symbol"),
        (" \t", "empty_symbol"),
        ("A" * 33, "symbol_too_long"),
        ("é" * 40, "symbol_too_long"),
        ("A B", "invalid_symbol"),
        ("-A", "invalid_symbol"),
        ("A\x00", "invalid_symbol"),
        ("A,B", "invalid_symbol"),
        ("*", "invalid_symbol"),
        ("\u0131bm", "invalid_symbol"),  # dotless i: its upper case is an ASCII I
        ("\u017fpy", "invalid_symbol"),  # long s: its upper case is an ASCII S
        ("A\u00a0", "invalid_symbol"),  # a no-break space is not trimmed
    ],
)
def test_what_is_no_symbol_is_an_error_with_its_reason(raw: str, reason: str) -> None:
    with pytest.raises(InvalidSymbol) as caught:
        normalize_symbol(raw)
    assert caught.value.reason == reason


@given(st.text(max_size=50))
def test_a_normal_symbol_is_normal(raw: str) -> None:
    try:
        symbol = normalize_symbol(raw)
    except InvalidSymbol:
        return
    assert normalize_symbol(symbol) == symbol
    assert symbol.isascii()
    assert 1 <= len(symbol) <= 32


@pytest.mark.parametrize(
    ("timestamp", "unit"),
    [
        (1, "ms"),
        (10**8 - 1, "ms"),
        (10**8, "s"),
        (10**11 - 1, "s"),
        (10**11, "ms"),
        (10**14 - 1, "ms"),
        (10**14, "us"),
        (10**17 - 1, "us"),
        (10**17, "ns"),
        (NOW, "ns"),
    ],
)
def test_auto_guesses_the_unit_by_magnitude(timestamp: int, unit: str) -> None:
    assert guess_unit(timestamp) == unit


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_the_present_is_read_right_in_every_unit(unit: TimestampUnit) -> None:
    now_s = 1_735_201_234
    sent = now_s * NS_PER_S // to_nanoseconds(1, unit)
    assert to_nanoseconds(sent, "auto") == to_nanoseconds(sent, unit) == now_s * NS_PER_S


def test_a_tick_is_brought_into_normal_form() -> None:
    tick = make_tick(symbol=" aApL ", exchange_timestamp=NOW // 1_000_000)
    tick.ingest_timestamp = 5
    rules = make_rules()
    assert rules.normalize(tick, NOW + 9) is None
    assert tick == Tick(
        symbol="AAPL",
        price=1.5,
        volume=1,
        exchange_timestamp=NOW,
        ingest_timestamp=NOW + 9,
    )
    assert rules.conversions == 1


def test_only_converted_times_count_as_conversions() -> None:
    rules = make_rules()
    rules.normalize(make_tick(), NOW)
    assert rules.conversions == 0


@pytest.mark.parametrize(
    ("tick", "reason"),
    [
        (make_tick(symbol=""), RejectReason.EMPTY_SYMBOL),
        (make_tick(symbol="A" * 40), RejectReason.SYMBOL_TOO_LONG),
        (make_tick(symbol="A B"), RejectReason.INVALID_SYMBOL),
        (make_tick(price=nan), RejectReason.PRICE_NOT_FINITE),
        (make_tick(price=inf), RejectReason.PRICE_NOT_FINITE),
        (make_tick(price=-inf), RejectReason.PRICE_NOT_FINITE),
        (make_tick(price=0.0), RejectReason.PRICE_NOT_POSITIVE),
        (make_tick(price=-1.0), RejectReason.PRICE_NOT_POSITIVE),
        (make_tick(volume=0), RejectReason.VOLUME_NOT_POSITIVE),
        (make_tick(volume=-5), RejectReason.VOLUME_NOT_POSITIVE),
        (make_tick(exchange_timestamp=0), RejectReason.TIMESTAMP_NOT_POSITIVE),
        (make_tick(exchange_timestamp=-NOW), RejectReason.TIMESTAMP_NOT_POSITIVE),
        (
            make_tick(exchange_timestamp=NOW + SKEW_S * NS_PER_S + 1),
            RejectReason.TIMESTAMP_IN_FUTURE,
        ),
        # Seconds of the year 5000 pass int64 in nanoseconds; that is the future, not an error.
        (make_tick(exchange_timestamp=10**11 - 1), RejectReason.TIMESTAMP_IN_FUTURE),
    ],
)
def test_a_bad_tick_is_dropped_with_its_reason(tick: Tick, reason: RejectReason) -> None:
    assert make_rules().normalize(tick, NOW) is reason


@pytest.mark.parametrize(
    "tick",
    [
        make_tick(exchange_timestamp=NOW + SKEW_S * NS_PER_S),
        make_tick(exchange_timestamp=1),
        make_tick(price=5e-324),
        make_tick(price=1.7e308),
        make_tick(volume=2**63 - 1),
    ],
)
def test_the_edges_of_what_is_allowed_pass(tick: Tick) -> None:
    assert make_rules("ns").normalize(tick, NOW) is None


def test_a_symbol_padded_with_a_megabyte_of_spaces_is_not_remembered() -> None:
    rules = make_rules()
    assert rules.normalize(make_tick(symbol=" " * 1_000_000 + "A"), NOW) is None
    assert rules.remembered_symbols == 0


@pytest.mark.parametrize(("unit", "first"), [("auto", 10**17), ("ns", 0)])
def test_from_some_value_on_every_time_is_in_nanoseconds(unit: TimestampUnit, first: int) -> None:
    assert nanoseconds_from(unit) == first
    assert to_nanoseconds(first, unit) == first


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_times_in_another_unit_are_never_taken_for_nanoseconds(unit: TimestampUnit) -> None:
    assert nanoseconds_from(unit) > 2**63
    assert to_nanoseconds(2**62, unit) > 2**62
