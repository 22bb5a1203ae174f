"""The compiled JSON of states, with the protobuf library and orjson as the oracle."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.encoding import aggregate_to_dict, bar_to_dict, encode_json
from gateway.kernel.encoder import MAX_RECORDS, StateEncoder
from gateway.kernel.states import aggregate_to_json, bar_to_json
from marketdata.wire.market_data_pb2 import (
    BAR_STATE_FINAL,
    COVERAGE_FULL,
    FILLER_NO_TRADES,
    Aggregate,
    AggregatesResponse,
    Bar,
    UpdateBatch,
)

ENCODER = StateEncoder()
AAPL = Aggregate(
    symbol="AAPL",
    open=150.25,
    high=152.1,
    low=149.8,
    close=151.0,
    volume=1_000_000,
    timestamp=1_735_201_234_567_890_123,
    trades=4711,
    vwap=150.98743219873214,
    session_start=1_735_171_200_000_000_000,
    sequence=12,
    epoch=1_735_201_200_000_000_000,
    coverage=COVERAGE_FULL,
)

REALS = st.one_of(
    st.floats(),
    st.floats(min_value=1e-6, max_value=1e16),
    st.floats(min_value=0.5, max_value=5000.0),
    st.decimals(min_value=0, max_value=10**9, places=4).map(float),
    st.integers(0, 2**60).map(float),
    st.integers(-40, 60).map(lambda power: 2.0**power),
    st.integers(-6, 17).map(lambda power: 10.0**power),
)
INT64 = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 10**6)
UINT64 = st.integers(0, 2**64 - 1) | st.integers(0, 10**6)
SYMBOLS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=66) | st.text(
    max_size=20
)
AGGREGATES = st.builds(
    Aggregate,
    symbol=SYMBOLS,
    open=REALS,
    high=REALS,
    low=REALS,
    close=REALS,
    volume=INT64,
    timestamp=INT64,
    trades=INT64,
    vwap=REALS,
    session_start=INT64,
    sequence=UINT64,
    epoch=UINT64,
    coverage=st.integers(0, 5),
    refused=st.sampled_from([0, 0, 0, 1, -1, 2**62]),
)
BARS = st.builds(
    Bar,
    symbol=SYMBOLS,
    interval=st.sampled_from(["1s", "1m", "", "100 ticks"]),
    start=INT64,
    end=INT64,
    number=st.integers(0, 2**32 - 1) | st.integers(0, 5),
    open=REALS,
    high=REALS,
    low=REALS,
    close=REALS,
    volume=INT64,
    trades=INT64,
    vwap=REALS,
    state=st.integers(1, 4),
    revision=st.integers(0, 2**32 - 1) | st.integers(0, 5),
    coverage=st.integers(0, 5),
    filler=st.sampled_from([0, 0, 0, 1, 2, 3]),
    first_timestamp=INT64,
    last_timestamp=INT64,
    sequence=UINT64,
    epoch=UINT64,
    phase=st.sampled_from(["", "regular", "pre"]),
    refused=st.sampled_from([0, 0, 1]),
)


def aggregate_oracle(data: bytes) -> bytes:
    """Return the JSON of an aggregate without the loop."""
    return encode_json(aggregate_to_dict(Aggregate.FromString(data)))


def bar_oracle(data: bytes) -> bytes:
    """Return the JSON of a bar without the loop."""
    return encode_json(bar_to_dict(Bar.FromString(data)))


def result_of(encode: Callable[[bytes], bytes], data: bytes) -> bytes | str:
    """Return what ``encode`` does, an error by its name."""
    try:
        return encode(data)
    except (DecodeError, KeyError) as exc:
        return type(exc).__name__


def fields_of(message: Message) -> list[bytes]:
    """Return the encoding of each field."""
    fields = []
    for descriptor, value in message.ListFields():
        single = type(message)()
        setattr(single, descriptor.name, value)
        fields.append(single.SerializeToString())
    return fields


@given(AGGREGATES)
@example(AAPL)
@settings(max_examples=1500, deadline=None)
def test_an_aggregate_has_the_same_json_as_without_the_loop(aggregate: Aggregate) -> None:
    data = aggregate.SerializeToString()
    assert ENCODER.aggregate_json(data) == aggregate_oracle(data)


@given(BARS)
@settings(max_examples=600, deadline=None)
def test_a_bar_has_the_same_json_as_without_the_loop(bar: Bar) -> None:
    data = bar.SerializeToString()
    assert ENCODER.bar_json(data) == bar_oracle(data)


def test_the_loop_writes_usual_states_itself() -> None:
    data = AAPL.SerializeToString()
    assert ENCODER._encode(aggregate_to_json, data) == aggregate_oracle(data)
    bar = Bar(
        symbol="AAPL", interval="1m", open=1.5, close=0.00012345, vwap=1 / 3, state=BAR_STATE_FINAL
    )
    data = bar.SerializeToString()
    assert ENCODER._encode(bar_to_json, data) == bar_oracle(data)


def test_the_loop_leaves_fillers_to_python() -> None:
    data = Bar(
        symbol="A", state=BAR_STATE_FINAL, filler=FILLER_NO_TRADES, close=1.0
    ).SerializeToString()
    assert ENCODER._encode(bar_to_json, data) == b""
    assert b'"vwap":null' in ENCODER.bar_json(data)


def test_every_double_of_a_market_is_the_shortest_that_reads_back() -> None:
    chance = random.Random(13)
    for _ in range(20_000):
        price = chance.uniform(1, 10) * 10.0 ** chance.randint(-5, 14)
        near = struct.unpack("d", struct.pack("q", chance.getrandbits(62)))[0]
        data = Aggregate(
            open=price, high=-price, low=round(price, 4), close=near, vwap=float(int(price))
        ).SerializeToString()
        assert ENCODER.aggregate_json(data) == aggregate_oracle(data)


def test_the_loop_writes_nearly_every_mean_price() -> None:
    chance = random.Random(5)
    written = 0
    for _ in range(2000):
        volume = chance.randint(1, 10**6)
        vwap = chance.randint(1, 10**9) / volume
        data = Aggregate(symbol="A", vwap=vwap).SerializeToString()
        written += ENCODER._encode(aggregate_to_json, data) != b""
    assert written > 1950


@given(AGGREGATES, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_fields_may_come_in_any_order_and_again(
    aggregate: Aggregate, chance: random.Random
) -> None:
    fields = fields_of(aggregate) + fields_of(AAPL)
    chance.shuffle(fields)
    data = b"".join(fields)
    assert result_of(ENCODER.aggregate_json, data) == result_of(aggregate_oracle, data)


@pytest.mark.parametrize(
    "field",
    [
        # Numbers 20, 63, 64 and 1000, a group, a wrong wire type, number 0.
        b"\xa0\x01\x05",
        b"\xf8\x03\x05",
        b"\x80\x04\x05",
        b"\xc2\x3e\x01x",
        b"\xa3\x01\xa4\x01",
        b"\x10\x05",
        b"\x00\x05",
        # Numbers written with more bytes than needed, and with too many.
        b"\x30\x85\x80\x00",
        b"\x30" + b"\xff" * 9 + b"\x01",
        b"\x30" + b"\xff" * 11,
        # Coverage of more than 32 bits.
        b"\x68\x83\x80\x80\x80\x10",
    ],
)
def test_unusual_fields_are_read_as_the_protobuf_library_does(field: bytes) -> None:
    data = AAPL.SerializeToString() + field
    assert result_of(ENCODER.aggregate_json, data) == result_of(aggregate_oracle, data)


def test_truncated_bytes_are_the_same_error() -> None:
    data = AAPL.SerializeToString()
    for size in range(len(data)):
        cut = data[:size]
        assert result_of(ENCODER.aggregate_json, cut) == result_of(aggregate_oracle, cut)


@given(st.binary(max_size=40))
@settings(max_examples=500, deadline=None)
def test_any_bytes_are_read_as_the_protobuf_library_reads_them(data: bytes) -> None:
    assert result_of(ENCODER.aggregate_json, data) == result_of(aggregate_oracle, data)
    assert result_of(ENCODER.bar_json, data) == result_of(bar_oracle, data)


@given(st.lists(AGGREGATES, max_size=8), st.integers(0, 2**60))
@settings(deadline=None)
def test_the_states_of_a_batch_come_one_by_one(states: list[Aggregate], position: int) -> None:
    batch = UpdateBatch(updates=states, position=position)
    data = batch.SerializeToString()
    found, end = ENCODER.encode_aggregates(data)
    assert data[end:] == UpdateBatch(position=position).SerializeToString()
    assert [each.data for each in found] == [each.SerializeToString() for each in states]
    assert [each.symbol.decode() for each in found] == [each.symbol for each in states]
    assert [(each.sequence, each.epoch) for each in found] == [
        (each.sequence, each.epoch) for each in states
    ]
    assert [each.json for each in found] == [encode_json(aggregate_to_dict(s)) for s in states]


def test_a_large_answer_comes_in_several_calls() -> None:
    states = [Aggregate(symbol=f"S{n}", close=n / 7) for n in range(3 * MAX_RECORDS + 1)]
    data = AggregatesResponse(aggregates=states).SerializeToString()
    symbols, position = [], 0
    while position < len(data):
        found, position = ENCODER.encode_aggregates(data, position)
        assert found
        symbols += [each.symbol.decode() for each in found]
    assert symbols == [each.symbol for each in states]


def test_a_record_longer_than_its_message_ends_the_run() -> None:
    data = UpdateBatch(updates=[AAPL, AAPL]).SerializeToString()[:-1]
    found, position = ENCODER.encode_aggregates(data)
    assert len(found) == 1
    with pytest.raises(DecodeError):
        UpdateBatch.FromString(data[position:])
