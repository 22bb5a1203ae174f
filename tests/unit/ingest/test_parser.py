"""The compiled parser takes, drops and counts what the plain one does, byte for byte of input."""

from __future__ import annotations

from itertools import pairwise, permutations, product
from random import Random
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingest.parser import HEADROOM
from ingest.ticks import TickReader
from marketdata.framing import encode_frame
from marketdata.symbols import SYMBOL_CHARACTERS, SymbolCase
from marketdata.validation import TickRules
from marketdata.wire.market_data_pb2 import Tick, TickAction
from tests.doubles.compiled_parser import CompiledParser
from tests.doubles.hostile_ticks import (
    MAX_FRAME_SIZE,
    NOW,
    compare,
    compare_random,
    decode,
    make_stream,
    tag,
    varint,
)
from tests.doubles.plain_parser import PlainParser


def rules() -> TickRules:
    return TickRules(timestamp_unit="auto", max_future_skew_s=60)


@settings(max_examples=1000, deadline=None)
@given(st.integers(0, 2**64))
def test_whatever_comes_however_cut_both_give_the_same(seed: int) -> None:
    compare_random(seed)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_arbitrary_bytes_give_the_same(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(data)]
    compare([data[start:end] for start, end in pairwise(edges)])


@settings(max_examples=500, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=60), max_size=10))
def test_arbitrary_payloads_give_the_same_and_count_once(payloads: list[bytes]) -> None:
    parser = compare([b"".join(map(encode_frame, payloads))])
    assert parser.accepted + parser.rejected.total() == len(payloads)


@settings(deadline=None)
@given(st.integers(0, 2**64))
def test_byte_by_byte_is_as_at_once(seed: int) -> None:
    data = make_stream(Random(seed), 6)
    compare([data[at : at + 1] for at in range(len(data))])


@pytest.mark.parametrize("order", [*permutations(range(4)), *product(range(10), repeat=3)])
def test_every_order_and_repetition_of_fields(order: tuple[int, ...]) -> None:
    tick = Tick(symbol="AAPL", price=2, volume=3, exchange_timestamp=NOW, ingest_timestamp=9)
    fields = [
        Tick(symbol="MSFT").SerializeToString(),
        Tick(price=1.5).SerializeToString(),
        Tick(volume=300).SerializeToString(),
        Tick(exchange_timestamp=NOW // 10**6).SerializeToString(),
        Tick(ingest_timestamp=7).SerializeToString(),
        Tick(volume_decimals=2).SerializeToString(),
        Tick(trade_id=b"id").SerializeToString(),
        Tick(excludes=1).SerializeToString(),
        tag(6, 2) + b"\x01x",
        Tick(action=TickAction.TICK_ACTION_CANCEL).SerializeToString(),
    ]
    chosen = b"".join(fields[number] for number in order)
    for payload in (chosen, chosen + tick.SerializeToString(), tick.SerializeToString() + chosen):
        compare([encode_frame(payload)])


_plain = st.builds(
    Tick,
    symbol=st.from_regex(rf"{SYMBOL_CHARACTERS}{{1,64}}", fullmatch=True)
    .map(str.strip)
    .filter(bool),
    price=st.floats(5e-324, 9e9),
    volume=st.integers(1, 10**15),
    exchange_timestamp=st.one_of(
        st.integers(10**17, NOW), st.integers(10**14, NOW // 1000), st.integers(10**8, NOW // 10**9)
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_plain, min_size=1, max_size=20))
@example([Tick(symbol="A" * 64, price=1, volume=10**15, exchange_timestamp=NOW)])
def test_what_the_library_writes_gives_the_same_bytes(ticks: list[Tick]) -> None:
    data = b"".join(encode_frame(tick.SerializeToString()) for tick in ticks)
    expected, _ = PlainParser(rules(), MAX_FRAME_SIZE).receive_data(data, NOW)
    records, _ = CompiledParser(rules(), MAX_FRAME_SIZE).receive_data(data, NOW)
    assert records == expected
    assert len(records) == len(ticks)


_feed = st.builds(
    Tick,
    symbol=st.sampled_from(["BTC-USDT", "AAPL", " eth/usd "]),
    price=st.floats(1e-9, 9e9),
    volume=st.integers(1, 10**15),
    exchange_timestamp=st.integers(10**17, NOW) | st.integers(10**8, NOW // 10**9),
    ingest_timestamp=st.integers(0, 2**63 - 1) | st.just(0),
    volume_decimals=st.integers(0, 18),
    trade_id=st.binary(max_size=36),
    excludes=st.integers(0, 15),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_feed, min_size=1, max_size=20))
@example([Tick(symbol="BTC-USDT", price=1, volume=1, exchange_timestamp=NOW, trade_id=b"x" * 64)])
def test_the_loop_takes_each_tick_with_decimals_an_id_and_excludes(ticks: list[Tick]) -> None:
    data = b"".join(encode_frame(tick.SerializeToString()) for tick in ticks)
    expected, _ = PlainParser(rules(), MAX_FRAME_SIZE).receive_data(data, NOW)
    parser = CompiledParser(rules(), MAX_FRAME_SIZE)
    # The protobuf library would be asked here.
    with patch.object(TickReader, "read", side_effect=AssertionError):
        records, _ = parser.receive_data(data, NOW)
    assert decode(records) == decode(expected)
    assert len(records) == len(ticks)


def test_a_record_ends_with_the_ingest_time_after_all_else() -> None:
    tick = Tick(symbol="AAPL", price=1.5, volume=3, exchange_timestamp=NOW, ingest_timestamp=7)
    added = Tick(volume_decimals=3, trade_id=b"id", excludes=1).SerializeToString()
    records, _ = CompiledParser(rules(), MAX_FRAME_SIZE).receive_data(
        encode_frame(tick.SerializeToString() + added), NOW
    )
    tick.ClearField("ingest_timestamp")
    payload = tick.SerializeToString() + added + Tick(ingest_timestamp=NOW).SerializeToString()
    assert records == [b"\x1a" + varint(len(payload)) + payload]


@pytest.mark.parametrize("length", range(40, 65))
@pytest.mark.parametrize("symbol", ["A", "A" * 20, "A" * 64])
def test_a_record_of_any_length_is_right(length: int, symbol: str) -> None:
    tick = Tick(symbol=symbol, price=1.5, volume=10**15, exchange_timestamp=NOW // 10**9)
    tick.trade_id, tick.volume_decimals, tick.excludes = b"i" * length, 2, 4
    parser = compare([encode_frame(tick.SerializeToString()) * 3])
    assert parser.accepted == 3


@pytest.mark.parametrize("case", ["preserve", "upper"])
@pytest.mark.parametrize("number", range(256))
def test_every_byte_in_a_symbol(number: int, case: SymbolCase) -> None:
    for symbol in (b"%cAPL", b"A%cPL", b"AAPL%c", b"%c", b"A" * 63 + b"%c", b"A" * 64 + b"%c"):
        content = symbol % number
        payload = b"\x0a" + varint(len(content)) + content
        compare(
            [
                encode_frame(
                    payload + Tick(price=1, volume=1, exchange_timestamp=NOW).SerializeToString()
                )
            ],
            case=case,
        )


@pytest.mark.parametrize("width", range(12))
@pytest.mark.parametrize("value", [1, 127, 128, 2**56, NOW, 2**63 - 1, 2**63, 2**64 - 1])
def test_every_width_of_a_number(width: int, value: int) -> None:
    symbol_and_price = Tick(symbol="A", price=1).SerializeToString()
    for volume, ts in ((varint(value, width), varint(NOW)), (varint(1), varint(value, width))):
        payload = symbol_and_price + tag(3, 0) + volume + tag(4, 0) + ts
        compare([encode_frame(payload)])
        compare([encode_frame(payload + tag(5, 0) + varint(value, width))])


@pytest.mark.parametrize("now_ns", [1, 2**55, NOW, 2**62, 2**63 - 1, -1, 0])
def test_every_width_of_the_ingest_time(now_ns: int) -> None:
    tick = Tick(symbol="A", price=1, volume=1, exchange_timestamp=max(min(now_ns, NOW), 10**17))
    compare([encode_frame(tick.SerializeToString())], skew_s=1e30, now_ns=now_ns)


@pytest.mark.parametrize("size", [HEADROOM - 5, HEADROOM - 4, HEADROOM - 3, 5_000, MAX_FRAME_SIZE])
@pytest.mark.parametrize("part", [1, 1000, 4096])
def test_a_long_frame_in_parts_is_read_and_each_byte_is_carried_at_most_twice(
    size: int, part: int
) -> None:
    payload = Tick(symbol="A", price=1, volume=1, exchange_timestamp=NOW).SerializeToString()
    head = b"\x7a" + varint(size - len(payload) - 4, 3)
    data = encode_frame((payload + head).ljust(size, b"x"))
    assert len(data) == size + 4
    data += encode_frame(payload)
    parser = compare([data[at : at + part] for at in range(0, len(data), part)])
    assert parser.accepted == 2
    # The length itself once more: it must be known before anything else is.
    assert parser.stream.carried_bytes <= 2 * len(data) + 4 * 4


def test_a_stream_in_reads_of_any_size_is_carried_only_where_a_frame_is_cut() -> None:
    frame = encode_frame(
        Tick(symbol="AAPL", price=1, volume=1, exchange_timestamp=NOW).SerializeToString()
    )
    data = frame * 10_000
    parser = compare([data], read_size=4096)
    reads = -(-len(data) // 4096)
    assert parser.accepted == 10_000
    assert parser.stream.carried_bytes <= reads * 2 * len(frame)


def test_a_frame_that_never_comes_needs_no_memory_but_its_own() -> None:
    parser = CompiledParser(rules(), MAX_FRAME_SIZE)
    parser.receive_data(MAX_FRAME_SIZE.to_bytes(4, "big") + b"x" * 1000, NOW)
    assert parser.has_partial_frame
    assert parser.stream.carried_bytes == 1004
