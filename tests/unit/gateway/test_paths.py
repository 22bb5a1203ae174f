"""Which path a raw path is routed by."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rest.paths import decode_name, decode_path


@pytest.mark.parametrize(
    ("raw", "path", "name"),
    [
        (b"/m/AAPL", "/m/AAPL", "AAPL"),
        (b"/m/BRK%2FB", "/m/BRK%2FB", "BRK/B"),
        (b"/m/BRK%2fB", "/m/BRK%2fB", "BRK/B"),
        (b"/m/%5EGSPC", "/m/^GSPC", "^GSPC"),
        (b"/m/ES%3DF", "/m/ES=F", "ES=F"),
        (b"/m/BRK%252FB", "/m/BRK%252FB", "BRK%2FB"),
        (b"/m/A%25", "/m/A%25", "A%"),
        (b"/m/%C3%A9", "/m/é", "é"),
        (b"/m/%FF", "/m/\ufffd", "\ufffd"),
        (b"/m/A%", "/m/A%", "A%"),
    ],
)
def test_all_but_slashes_and_percent_signs_is_decoded(raw: bytes, path: str, name: str) -> None:
    assert decode_path(raw) == path
    assert decode_name(path.removeprefix("/m/")) == name


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_fully_encoded_name_is_one_segment_and_reads_back(name: str) -> None:
    raw = "".join(f"%{byte:02X}" for byte in name.encode())
    segment = decode_path(raw.encode())
    assert "/" not in segment
    assert decode_name(segment) == name
