"""The feed rules, for the plain and the compiled feed: bytes in, validated ticks out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from math import nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketdata.errors import EmptyFrame, FrameTooLarge, InvalidSymbol
from marketdata.framing import encode_frame
from marketdata.symbols import normalize_symbol
from marketdata.validation import RejectReason, TickRules
from marketdata.wire.market_data_pb2 import Tick, TickBatch
from tests.doubles.compiled_parser import CompiledParser
from tests.doubles.plain_parser import PlainParser

NOW = 1_735_201_234_567_000_000


Parser = PlainParser | CompiledParser
Make = Callable[[TickRules, int], Parser]


@pytest.fixture(params=[PlainParser, CompiledParser], scope="module")
def make(request: pytest.FixtureRequest) -> Make:
    made: Make = request.param
    return made


def make_parser(make: Make, max_frame_size: int = 1_000_000) -> Parser:
    return make(TickRules(timestamp_unit="auto", max_future_skew_s=60), max_frame_size)


def make_tick(symbol: str = "AAPL", price: float = 1.5) -> Tick:
    return Tick(symbol=symbol, price=price, volume=3, exchange_timestamp=NOW)


def frame(tick: Tick) -> bytes:
    return encode_frame(tick.SerializeToString())


def accepted(tick: Tick) -> Tick:
    tick = Tick.FromString(tick.SerializeToString())
    tick.ingest_timestamp = NOW
    return tick


def decode(records: list[bytes]) -> list[Tick]:
    return list(TickBatch.FromString(b"".join(records)).ticks)


def test_records_of_a_batch_are_the_normalized_ticks(make: Make) -> None:
    parser = make_parser(make)
    records, rejected = parser.receive_data(frame(make_tick(" aApL ")) * 2, NOW)
    assert decode(records) == [accepted(make_tick("aApL"))] * 2
    assert not rejected


@settings(deadline=None)
@given(
    st.lists(
        st.builds(
            make_tick,
            st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
            st.floats(),
        ),
        max_size=20,
    )
)
def test_each_tick_is_accepted_or_counted(make: Make, ticks: list[Tick]) -> None:
    parser = make_parser(make)
    records, rejected = parser.receive_data(b"".join(map(frame, ticks)), NOW)
    assert len(decode(records)) + rejected.total() == len(ticks)
    assert (parser.accepted, parser.rejected) == (len(records), rejected)
    assert parser.failure is None


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=60), max_size=20))
def test_payloads_pass_exactly_as_the_protobuf_library_reads_them(
    make: Make, payloads: list[bytes]
) -> None:
    parser = make_parser(make)
    records, rejected = parser.receive_data(b"".join(map(encode_frame, payloads)), NOW)
    rules = TickRules(timestamp_unit="auto", max_future_skew_s=60)
    expected, reasons = [], Counter[str]()
    for payload in payloads:
        try:
            tick = Tick.FromString(payload)
        except Exception:
            reasons[RejectReason.MALFORMED] += 1
            continue
        reason = rules.normalize(tick, NOW)
        if reason is None:
            expected.append(tick)
        else:
            reasons[reason] += 1
    assert decode(records) == expected
    assert rejected == reasons


@pytest.mark.parametrize("symbol", ["AAPL", " aapl"])
@pytest.mark.parametrize(
    "more",
    [
        Tick(),
        Tick(ingest_timestamp=5),
        # Fields that came before come again: the last one counts.
        Tick(ingest_timestamp=-1, price=7.0, volume=9),
        Tick(symbol="MSFT", exchange_timestamp=NOW // 1_000_000),
    ],
)
def test_the_ingest_time_is_ours_and_all_else_as_the_protobuf_library_reads_it(
    make: Make, symbol: str, more: Tick
) -> None:
    payload = make_tick(symbol).SerializeToString() + more.SerializeToString()
    expected = Tick.FromString(payload)
    assert TickRules(timestamp_unit="auto", max_future_skew_s=60).normalize(expected, NOW) is None
    assert expected.ingest_timestamp == NOW
    records, _ = make_parser(make).receive_data(encode_frame(payload), NOW)
    assert decode(records) == [expected]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\xff\xff\xff", RejectReason.MALFORMED),
        (b"\x0a\x02\xff\xfe" + make_tick().SerializeToString()[6:], RejectReason.MALFORMED),
        (make_tick(price=nan).SerializeToString(), RejectReason.PRICE_NOT_FINITE),
    ],
)
def test_a_bad_payload_is_dropped_and_the_connection_lives_on(
    make: Make, payload: bytes, reason: RejectReason
) -> None:
    parser = make_parser(make)
    records, rejected = parser.receive_data(
        frame(make_tick("A")) + encode_frame(payload) + frame(make_tick("B")), NOW
    )
    assert [tick.symbol for tick in decode(records)] == ["A", "B"]
    assert rejected == {reason: 1}
    assert parser.failure is None


@pytest.mark.parametrize(
    ("bad_frame", "error"),
    [(b"\x00\x00\x00\x00", EmptyFrame), (b"\x00\x00\x00\x41", FrameTooLarge)],
)
def test_ticks_before_a_violation_are_kept(
    make: Make, bad_frame: bytes, error: type[Exception]
) -> None:
    parser = make_parser(make, max_frame_size=64)
    records, _ = parser.receive_data(frame(make_tick()) + bad_frame, NOW)
    assert decode(records) == [accepted(make_tick())]
    assert isinstance(parser.failure, error)


def test_unknown_fields_do_not_travel_in_big_ticks(make: Make) -> None:
    padding = TickBatch(producer_id="x" * 5000).SerializeToString().replace(b"\x0a", b"\x7a", 1)
    parser = make_parser(make)
    payload = make_tick().SerializeToString() + padding
    records, _ = parser.receive_data(encode_frame(payload), NOW)
    assert decode(records) == [accepted(make_tick())]
    assert len(records[0]) < 100


@pytest.mark.parametrize(
    ("tick", "reason"),
    [
        (Tick(price=1.7976931348623157e308), "price_too_large"),
        (Tick(price=9223372036.854775807), "price_sentinel"),
        (Tick(volume=10**15 + 1), "volume_too_large"),
        (Tick(volume=2**63 - 1), "volume_too_large"),
        (Tick(exchange_timestamp=20250103), "timestamp_implausible"),
    ],
)
def test_an_absurd_number_refuses_its_own_tick_alone(make: Make, tick: Tick, reason: str) -> None:
    bad = make_tick()
    bad.MergeFrom(tick)
    parser = make_parser(make)
    records, rejected = parser.receive_data(
        frame(make_tick()) + frame(bad) + frame(make_tick()), NOW
    )
    assert decode(records) == [accepted(make_tick())] * 2
    assert rejected == {reason: 1}


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 16, 17])
def test_every_byte_at_every_place_of_a_symbol_is_checked(make: Make, size: int) -> None:
    parser = make_parser(make)
    symbols = [
        f"{'A' * at}{chr(byte)}{after * (size - at - 1)}"
        for byte in range(128)
        for at in range(size)
        for after in "A-"
    ]
    records, rejected = parser.receive_data(b"".join(frame(make_tick(s)) for s in symbols), NOW)
    expected = []
    for symbol in symbols:
        with suppress(InvalidSymbol):
            expected.append(normalize_symbol(symbol))
    assert [tick.symbol for tick in decode(records)] == expected
    assert rejected.total() == len(symbols) - len(expected)


def test_two_symbols_that_differ_in_case_stay_two(make: Make) -> None:
    data = frame(make_tick("AMpB")) + frame(make_tick("AMPB")) + frame(make_tick("ampb "))
    records, _ = make_parser(make).receive_data(data, NOW)
    assert [tick.symbol for tick in decode(records)] == ["AMpB", "AMPB", "ampb"]


def test_a_change_of_the_unit_is_noticed(make: Make) -> None:
    parser = make_parser(make)
    for time in (NOW // 10**6, NOW // 10**6, NOW // 10**9, NOW // 10**9, NOW // 10**6):
        # A field of no meaning makes every other tick one for the protobuf library.
        tick = Tick(symbol="AAPL", price=1.5, volume=3, exchange_timestamp=time)
        more = b"\x78\x01" if parser.accepted % 2 else b""
        parser.receive_data(encode_frame(tick.SerializeToString() + more), NOW)
    assert parser.accepted == 5
    assert parser.units.changes == 2
