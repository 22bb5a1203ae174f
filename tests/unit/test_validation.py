"""Which ticks pass, what becomes of their symbols and times, and why others do not."""

from __future__ import annotations

import sys
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.errors import InvalidSymbol
from marketdata.price_rules import PriceRules
from marketdata.symbols import SymbolCase, is_allowed, normalize_symbol
from marketdata.timestamps import (
    NS_PER_S,
    TimestampUnit,
    UnitHistory,
    nanoseconds_from,
    nanoseconds_in,
    to_nanoseconds,
)
from marketdata.validation import RejectReason, TickRules, ValueLimits
from marketdata.wire.market_data_pb2 import Refusal, Tick

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
        (" aApL ", "aApL"),
        ("\t\n\r\v\fIBM\n", "IBM"),
        ("AMpB", "AMpB"),
        ("BRK/B", "BRK/B"),
        ("AAPL  251219C00150000", "AAPL  251219C00150000"),
        ("BRK.B 260206C00495000", "BRK.B 260206C00495000"),
        ("M&M.NS", "M&M.NS"),
        ("/ES", "/ES"),
        ("CL1!", "CL1!"),
        ("ES 12-25", "ES 12-25"),
        ("#VIX", "#VIX"),
        ("BTC~USD", "BTC~USD"),
        ("A%2FB?c[1]", "A%2FB?c[1]"),
        ("-A", "-A"),
        ("<b>'&;`{|}", "<b>'&;`{|}"),
        ("A" * 64, "A" * 64),
        (" " + "A" * 64 + " ", "A" * 64),
    ],
)
def test_symbols_are_trimmed_and_otherwise_exact(raw: str, symbol: str) -> None:
    assert normalize_symbol(raw) == symbol


def test_an_operator_may_have_them_in_upper_case() -> None:
    assert normalize_symbol(" aApL ~a", "upper") == "AAPL ~A"
    rules = TickRules(timestamp_unit="auto", max_future_skew_s=SKEW_S, symbol_case="upper")
    tick = make_tick("brk.b")
    assert rules.normalize(tick, NOW) is None
    assert tick.symbol == "BRK.B"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("", "empty_symbol"),
        (" \t", "empty_symbol"),
        ("A" * 65, "symbol_too_long"),
        ("é" * 70, "symbol_too_long"),
        ("A\tB", "invalid_symbol"),
        ("A\x00", "invalid_symbol"),
        ("A\x7f", "invalid_symbol"),
        ("A,B", "invalid_symbol"),
        ("*", "invalid_symbol"),
        ('A"', "invalid_symbol"),
        ("A\\B", "invalid_symbol"),
        ("\u0131bm", "invalid_symbol"),  # dotless i: its upper case is an ASCII I
        ("\u017fpy", "invalid_symbol"),  # long s: its upper case is an ASCII S
        ("A\u00a0", "invalid_symbol"),  # a no-break space is not trimmed
    ],
)
@pytest.mark.parametrize("case", ["preserve", "upper"])
def test_an_invalid_symbol_is_an_error_with_its_reason(
    raw: str, reason: str, case: SymbolCase
) -> None:
    with pytest.raises(InvalidSymbol) as caught:
        normalize_symbol(raw, case)
    assert caught.value.reason == reason


def test_every_printable_character_but_four_may_be_in_a_symbol() -> None:
    assert {chr(byte) for byte in range(256) if is_allowed(chr(byte))} == {
        chr(byte) for byte in range(0x20, 0x7F)
    } - set(',*"\\')


@given(st.text(max_size=80))
def test_a_normal_symbol_is_normal(raw: str) -> None:
    try:
        symbol = normalize_symbol(raw)
    except InvalidSymbol:
        return
    assert normalize_symbol(symbol) == symbol
    assert symbol.isascii()
    assert 1 <= len(symbol) <= 64


@pytest.mark.parametrize(
    ("timestamp", "unit_ns"),
    [
        (1, 0),
        (20250103, 0),
        (10**8 - 1, 0),
        (10**8, 10**9),
        (10**11 - 1, 10**9),
        (10**11, 10**6),
        (10**14 - 1, 10**6),
        (10**14, 10**3),
        (10**17 - 1, 10**3),
        (10**17, 1),
        (NOW, 1),
    ],
)
def test_auto_guesses_the_unit_by_magnitude(timestamp: int, unit_ns: int) -> None:
    assert nanoseconds_in(timestamp, "auto") == unit_ns


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
        symbol="aApL",
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
        (make_tick(symbol="A" * 70), RejectReason.SYMBOL_TOO_LONG),
        (make_tick(symbol="A,B"), RejectReason.INVALID_SYMBOL),
        (make_tick(price=nan), RejectReason.PRICE_NOT_FINITE),
        (make_tick(price=inf), RejectReason.PRICE_NOT_FINITE),
        (make_tick(price=-inf), RejectReason.PRICE_NOT_FINITE),
        (make_tick(price=0.0), RejectReason.PRICE_NOT_POSITIVE),
        (make_tick(price=-1.0), RejectReason.PRICE_NOT_POSITIVE),
        (make_tick(price=1.0001e12), RejectReason.PRICE_TOO_LARGE),
        (make_tick(price=sys.float_info.max), RejectReason.PRICE_TOO_LARGE),
        (make_tick(price=2.0**63), RejectReason.PRICE_SENTINEL),
        (make_tick(price=9223372036.854775807), RejectReason.PRICE_SENTINEL),
        (make_tick(price=(2**63 - 1) * 1e-9), RejectReason.PRICE_SENTINEL),
        (make_tick(price=92233720368.54775807), RejectReason.PRICE_SENTINEL),
        (make_tick(volume=10**15 + 1), RejectReason.VOLUME_TOO_LARGE),
        (make_tick(volume=2**63 - 1), RejectReason.VOLUME_TOO_LARGE),
        (make_tick(exchange_timestamp=20250103), RejectReason.TIMESTAMP_IMPLAUSIBLE),
        (make_tick(exchange_timestamp=45660), RejectReason.TIMESTAMP_IMPLAUSIBLE),
        (make_tick(exchange_timestamp=1), RejectReason.TIMESTAMP_IMPLAUSIBLE),
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
        make_tick(price=1e12),
        make_tick(price=9223372036.85),
        make_tick(volume=10**15),
    ],
)
def test_the_edges_of_what_is_allowed_pass(tick: Tick) -> None:
    assert make_rules("ns").normalize(tick, NOW) is None


def test_the_largest_price_and_volume_are_settings() -> None:
    limits = ValueLimits(max_price=inf, max_volume=2**63 - 1)
    rules = TickRules(timestamp_unit="auto", max_future_skew_s=SKEW_S, limits=limits)
    assert rules.normalize(make_tick(price=1.7e308, volume=2**63 - 1), NOW) is None
    assert rules.normalize(make_tick(price=2**63 / 1e9), NOW) is RejectReason.PRICE_SENTINEL


ID = b"1a-\xff\x00"


def marked(**fields: object) -> Tick:
    tick = make_tick()
    for name, value in fields.items():
        setattr(tick, name, value)
    return tick


@pytest.mark.parametrize(
    "tick",
    [
        marked(volume_decimals=18),
        marked(trade_id=b"x" * 64),
        marked(excludes=15, volume=0),
        marked(excludes=8, volume=0),
        marked(excludes=7),
        marked(action=1, trade_id=ID),
        marked(action=1, trade_id=ID, price=nan, volume=-1),
        marked(action=2, trade_id=ID),
        # The limit is in units of the instrument.
        marked(volume=10**15 * 1000, volume_decimals=3),
        marked(volume=2**63 - 1, volume_decimals=4),
        marked(volume=2**63 - 1, volume_decimals=18),
    ],
)
def test_decimals_ids_excludes_and_actions_pass(tick: Tick) -> None:
    before = Tick.FromString(tick.SerializeToString())
    before.ingest_timestamp = NOW
    assert make_rules().normalize(tick, NOW) is None
    assert tick.SerializeToString() == before.SerializeToString()


@pytest.mark.parametrize(
    ("tick", "reason"),
    [
        (marked(volume_decimals=19), RejectReason.VOLUME_DECIMALS_TOO_LARGE),
        (marked(volume_decimals=2**32 - 1), RejectReason.VOLUME_DECIMALS_TOO_LARGE),
        (marked(trade_id=b"x" * 65), RejectReason.TRADE_ID_TOO_LONG),
        (marked(excludes=16), RejectReason.INVALID_EXCLUDES),
        (marked(excludes=2**31), RejectReason.INVALID_EXCLUDES),
        (marked(action=3, trade_id=ID), RejectReason.INVALID_ACTION),
        (marked(action=-1, trade_id=ID), RejectReason.INVALID_ACTION),
        (marked(action=1), RejectReason.MISSING_TRADE_ID),
        (marked(action=2), RejectReason.MISSING_TRADE_ID),
        # A correction is checked as a trade, a cancel must have a time.
        (marked(action=2, trade_id=ID, price=0.0), RejectReason.PRICE_NOT_POSITIVE),
        (marked(action=2, trade_id=ID, volume=0), RejectReason.VOLUME_NOT_POSITIVE),
        (
            marked(action=1, trade_id=ID, exchange_timestamp=0),
            RejectReason.TIMESTAMP_NOT_POSITIVE,
        ),
        (marked(excludes=7, volume=0), RejectReason.VOLUME_NOT_POSITIVE),
        (marked(excludes=8, volume=-1), RejectReason.VOLUME_NOT_POSITIVE),
        (marked(volume=10**15 * 1000 + 1, volume_decimals=3), RejectReason.VOLUME_TOO_LARGE),
        (marked(volume=2**63 - 1, volume_decimals=3), RejectReason.VOLUME_TOO_LARGE),
    ],
)
def test_what_is_wrong_with_the_additions_of_a_tick_is_named(
    tick: Tick, reason: RejectReason
) -> None:
    rules = make_rules()
    assert rules.normalize(tick, NOW) is reason
    refusal = rules.refusal(tick, NOW)
    if tick.exchange_timestamp:
        assert refusal == Refusal(symbol="AAPL", exchange_timestamp=NOW, reason=reason)
    else:
        assert refusal is None


@pytest.mark.parametrize(
    ("symbol", "price", "reason"),
    [
        ("AAPL", 0.0, RejectReason.PRICE_NOT_POSITIVE),
        ("AAPL", -0.01, RejectReason.PRICE_NOT_POSITIVE),
        ("VIX", 0.0, None),
        ("VIX", -0.0, None),
        ("VIX", -5e-324, RejectReason.PRICE_NOT_POSITIVE),
        ("CLZ4", -37.63, None),
        (" CLZ4 ", -37.63, None),
        ("CLZ4", 0.0, None),
        ("CLZ4", -1e12, None),
        ("CLZ4", -1.0001e12, RejectReason.PRICE_TOO_LARGE),
        ("CLZ4", nan, RejectReason.PRICE_NOT_FINITE),
        ("CLZ4", -inf, RejectReason.PRICE_NOT_FINITE),
        ("CLZ4", -(2**63) / 1e9, RejectReason.PRICE_SENTINEL),
        ("CLZ4", 2**63 / 1e9, RejectReason.PRICE_SENTINEL),
    ],
)
def test_the_operator_allows_prices_of_0_and_below_by_symbol(
    symbol: str, price: float, reason: RejectReason | None
) -> None:
    rules = TickRules(
        timestamp_unit="auto",
        max_future_skew_s=SKEW_S,
        prices=PriceRules("*=positive,CL*=any,VIX=nonnegative"),
    )
    assert rules.normalize(make_tick(symbol=symbol, price=price), NOW) is reason


def test_a_change_of_the_unit_is_counted_and_in_a_file_refused() -> None:
    times = [NOW // 10**6, NOW // 10**9, NOW // 10**9, NOW // 10**6, 20250103]
    for one_unit, changes, found in (
        (False, 2, [10**6, 10**9, 10**9, 10**6, RejectReason.TIMESTAMP_IMPLAUSIBLE]),
        (
            True,
            0,
            [
                10**6,
                *[RejectReason.TIMESTAMP_UNIT_CHANGED] * 2,
                10**6,
                RejectReason.TIMESTAMP_IMPLAUSIBLE,
            ],
        ),
    ):
        rules = TickRules(timestamp_unit="auto", max_future_skew_s=SKEW_S, one_unit=one_unit)
        units = UnitHistory()
        checked = [rules.check(1.0, 1, time, 2**63 - 1, units) for time in times]
        assert [
            each if isinstance(each, RejectReason) else each // time
            for each, time in zip(checked, times, strict=True)
        ] == found
        assert units.changes == changes


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
