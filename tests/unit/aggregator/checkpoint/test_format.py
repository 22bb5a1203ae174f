"""Any plain value comes back as it was, and damaged content never becomes a value."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.bars.kernel.records import BAR, SLOT, SYMBOL
from aggregator.checkpoint.errors import DamagedCheckpoint, UnknownVersion
from aggregator.checkpoint.format import VERSION, decode, describe, differences, encode

plain = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**127), 2**127),
        st.floats(allow_nan=False),
        st.text(st.characters(exclude_categories=["Cs"])),
        st.binary(),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["a", "$", "array", ""]), inner, max_size=3),
    ),
)


def written(value: Any) -> bytes:
    return b"".join(encode(value, "0.1.0"))


@given(plain)
def test_a_plain_value_comes_back_as_it_was(value: Any) -> None:
    content = written(value)
    found = decode(content)
    # The text shows -0.0 and 1.0, which equal 0.0 and 1.
    assert repr(found) == repr(value)
    assert written(found) == content


def test_tuples_become_lists_and_not_a_number_stays_so() -> None:
    found = decode(written(((1, 2.0), math.nan, -math.inf)))
    assert found[0] == [1, 2.0]
    assert math.isnan(found[1])
    assert found[2] == -math.inf


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3),
        np.zeros(0),
        np.zeros((0, 3), np.int64),
        np.array([True, False]),
        np.array([0.1, -0.0, math.inf]),
        np.array(7),
        np.ones(3, BAR),
        np.ones((2, 3), SLOT),
        np.ones(2, SYMBOL)[::-1],
    ],
    ids=lambda array: f"{len(array.dtype.names or ())} fields, {array.shape}",
)
def test_an_array_comes_back_with_its_type(array: Any) -> None:
    found = decode(written({"before": b"x", "array": array, "after": [array]}))
    assert found["array"].dtype == array.dtype
    assert found["array"].shape == array.shape
    assert found["array"].tolist() == array.tolist() == found["after"][0].tolist()
    assert (found["before"], describe(found["array"].dtype)) == (b"x", describe(array.dtype))


def test_a_value_of_another_kind_is_not_written() -> None:
    with pytest.raises(TypeError, match="a checkpoint cannot have a set"):
        written({"a": {1}})


CONTENT = written({"a": [1, 2], "b": np.arange(100), "c": b"abc"})


@pytest.mark.parametrize("size", [0, 3, 31, 32, 40, len(CONTENT) - 1])
def test_content_that_was_cut_is_damaged(size: int) -> None:
    with pytest.raises(DamagedCheckpoint):
        decode(CONTENT[:size])


def test_content_with_more_bytes_is_damaged() -> None:
    with pytest.raises(DamagedCheckpoint, match="its arrays end at"):
        decode(CONTENT + b"\0")


@given(st.integers(32, len(CONTENT) - 1), st.integers(0, 255))
def test_a_changed_byte_gives_a_value_or_a_documented_error(at: int, byte: int) -> None:
    content = CONTENT[:at] + bytes([byte]) + CONTENT[at + 1 :]
    with contextlib.suppress(DamagedCheckpoint):
        decode(content)


def test_an_unknown_version_names_the_release_that_reads_it() -> None:
    content = CONTENT[:4] + (VERSION + 1).to_bytes(4, "little") + CONTENT[8:]
    content = content.replace(b"0.1.0", b"0.9.2", 1)
    with pytest.raises(UnknownVersion, match=r"release 0\.9\.2 wrote it and reads it") as caught:
        decode(content)
    assert (caught.value.version, caught.value.known) == (VERSION + 1, VERSION)


def test_differences_name_their_places() -> None:
    saved = {"setup": {"grace_ns": 1, "bars": ["1s"], "old": 0}, "same": 1}
    present = {"setup": {"grace_ns": 2, "bars": ["1s"], "new": 0}, "same": 1}
    assert differences(saved, present) == [
        "setup.grace_ns: 1, here 2",
        "setup.old: only in the checkpoint",
        "setup.new: only here",
    ]
