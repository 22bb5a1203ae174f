"""The framing codec, at both sides of each limit and in any chunking."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.errors import EmptyFrame, FrameTooLarge
from marketdata.framing import MAX_FRAME_SIZE, encode_frame
from tests.doubles.frame_decoder import FrameDecoder


def test_a_frame_is_a_big_endian_length_and_the_payload() -> None:
    assert encode_frame(b"tick") == b"\x00\x00\x00\x04tick"


@given(
    st.lists(st.binary(min_size=1, max_size=200), max_size=30),
    st.lists(st.integers(min_value=0), max_size=40),
)
def test_any_chunking_gives_the_same_payloads(sent: list[bytes], cuts: list[int]) -> None:
    data = b"".join(map(encode_frame, sent))
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    decoder = FrameDecoder()
    chunks = [data[start:end] for start, end in itertools.pairwise(edges)]
    assert [each for chunk in chunks for each in decoder.receive_data(chunk)] == sent
    assert decoder.failure is None
    assert not decoder.has_partial_frame


@pytest.mark.parametrize("limit", [1, 64, MAX_FRAME_SIZE])
def test_a_frame_of_exactly_the_limit_passes_and_one_byte_more_fails(limit: int) -> None:
    assert len(encode_frame(b"x" * limit, limit)) == 4 + limit
    with pytest.raises(FrameTooLarge) as caught:
        encode_frame(b"x" * (limit + 1), limit)
    assert (caught.value.size, caught.value.limit) == (limit + 1, limit)
    assert str(caught.value) == f"frame announces {limit + 1} bytes, limit is {limit} bytes"


def test_an_empty_frame_fails() -> None:
    with pytest.raises(EmptyFrame):
        encode_frame(b"")
