"""Inputs as bytes, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.machine.inputs import (
    Batch,
    Clock,
    FeedClosed,
    FeedOpened,
    Input,
    InvalidInput,
    Start,
    Watch,
    WatchEnded,
    parse_input,
)
from aggregator.market import Limits
from aggregator.ticklog.log import Kind
from marketdata.wire.market_data_pb2 import TickBatch

streams = st.integers(-(2**63), 2**63 - 1)
starts = st.builds(
    Start,
    epoch=st.integers(0, 2**64),
    fingerprint=st.text(),
    began_at=st.integers(0, 2**63),
    began_empty=st.booleans(),
    limits=st.builds(Limits, max_symbols=st.integers(1, 9), max_price=st.floats(0, 1e12)),
    version=st.text(),
)
inputs = st.one_of(
    st.builds(Batch, streams, st.binary()),
    st.builds(Watch, streams, st.binary()),
    st.builds(Clock, st.integers(0, 2**32 - 1)),
    *(st.builds(each, streams) for each in (FeedOpened, FeedClosed, WatchEnded)),
    starts,
)


@given(inputs)
def test_an_input_comes_back_from_its_bytes(each: Input) -> None:
    assert parse_input(each.kind, each.payload()) == each


@given(st.sampled_from(Kind), st.binary(max_size=20))
def test_other_bytes_are_an_input_or_a_documented_error(kind: Kind, payload: bytes) -> None:
    try:
        each = parse_input(kind, payload)
    except InvalidInput:
        return
    assert each.kind is kind


def test_the_payload_of_a_batch_reads_as_the_batch() -> None:
    batch = TickBatch(producer_id="p", first_sequence=7)
    read = TickBatch.FromString(Batch(5, batch.SerializeToString()).payload())
    assert (read.producer_id, read.first_sequence) == ("p", 7)


def test_the_bytes_of_each_kind_are_part_of_the_format() -> None:
    assert Batch(5, b"ab").payload() == b"ab\x79\x05" + bytes(7)
    assert Watch(5, b"").payload() == b"\x79\x05" + bytes(7)
    assert Clock(1_000).payload() == b"\x00\x00\x03\xe8"
    assert FeedOpened(5).payload() == FeedClosed(5).payload() == bytes(7) + b"\x05"
    assert WatchEnded(5).payload() == bytes(7) + b"\x05"
    with pytest.raises(InvalidInput):
        parse_input(Kind.START, b"{}")
