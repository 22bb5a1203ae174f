"""The framing codec, at both sides of each limit and in any chunking."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.errors import EmptyFrame, FrameTooLarge
from marketdata.framing import MAX_FRAME_SIZE, FrameDecoder, encode_frame

payloads = st.lists(st.binary(min_size=1, max_size=200), max_size=30)


def chunked(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def receive_all(decoder: FrameDecoder, chunks: list[bytes]) -> list[bytes]:
    return [payload for chunk in chunks for payload in decoder.receive_data(chunk)]


def test_a_frame_is_a_big_endian_length_and_the_payload() -> None:
    assert encode_frame(b"tick") == b"\x00\x00\x00\x04tick"


@given(payloads, st.lists(st.integers(min_value=0), max_size=40))
def test_any_chunking_gives_the_same_payloads(sent: list[bytes], cuts: list[int]) -> None:
    decoder = FrameDecoder()
    data = b"".join(map(encode_frame, sent))
    assert receive_all(decoder, chunked(data, cuts)) == sent
    assert decoder.failure is None
    assert not decoder.has_partial_frame


def test_one_byte_at_a_time_gives_the_same_payloads() -> None:
    decoder = FrameDecoder()
    data = encode_frame(b"a") + encode_frame(b"bc" * 300)
    assert receive_all(decoder, [data[i : i + 1] for i in range(len(data))]) == [b"a", b"bc" * 300]


@given(st.binary(max_size=2000), st.lists(st.integers(min_value=0), max_size=10))
def test_garbage_gives_payloads_or_a_documented_error_whatever_the_chunking(
    garbage: bytes, cuts: list[int]
) -> None:
    whole, cut = FrameDecoder(max_frame_size=100), FrameDecoder(max_frame_size=100)
    expected = whole.receive_data(garbage)
    assert receive_all(cut, chunked(garbage, cuts)) == expected
    assert type(cut.failure) is type(whole.failure)
    assert type(whole.failure) in {type(None), EmptyFrame, FrameTooLarge}
    assert cut.has_partial_frame == whole.has_partial_frame


@pytest.mark.parametrize("limit", [1, 64, MAX_FRAME_SIZE])
def test_a_frame_of_exactly_the_limit_passes(limit: int) -> None:
    decoder = FrameDecoder(max_frame_size=limit)
    assert decoder.receive_data(encode_frame(b"x" * limit)) == [b"x" * limit]


@pytest.mark.parametrize("limit", [1, 64, MAX_FRAME_SIZE])
def test_a_length_over_the_limit_fails_before_its_payload_is_buffered(limit: int) -> None:
    decoder = FrameDecoder(max_frame_size=limit)
    assert decoder.receive_data((limit + 1).to_bytes(4, "big") + b"payload") == []
    assert isinstance(decoder.failure, FrameTooLarge)
    assert (decoder.failure.size, decoder.failure.limit) == (limit + 1, limit)
    assert str(decoder.failure) == f"frame announces {limit + 1} bytes, limit is {limit} bytes"
    assert not decoder.has_partial_frame


def test_a_length_of_zero_fails() -> None:
    decoder = FrameDecoder()
    assert decoder.receive_data(b"\x00\x00\x00\x00") == []
    assert isinstance(decoder.failure, EmptyFrame)


def test_payloads_before_a_violation_are_kept_and_data_after_it_is_ignored() -> None:
    decoder = FrameDecoder()
    assert decoder.receive_data(encode_frame(b"good") + b"\x00" * 4 + encode_frame(b"late")) == [
        b"good"
    ]
    assert decoder.receive_data(encode_frame(b"later")) == []


@pytest.mark.parametrize(("payload", "error"), [(b"", EmptyFrame), (b"12345", FrameTooLarge)])
def test_encoding_refuses_what_decoding_would_refuse(
    payload: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error):
        encode_frame(payload, max_frame_size=4)


def test_a_begun_frame_is_visible_until_it_is_finished() -> None:
    decoder = FrameDecoder()
    decoder.receive_data(b"\x00")
    assert decoder.has_partial_frame
    decoder.receive_data(b"\x00\x00\x01x")
    assert not decoder.has_partial_frame
