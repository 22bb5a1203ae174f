"""Which form a response gets (RFC 9110, 12.5.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import NotAcceptable
from gateway.rest.negotiation import choose_media_type

JSON, CSV, ARROW = "application/json", "text/csv", "application/vnd.apache.arrow.stream"
OFFERED = (JSON, CSV, ARROW)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("text/csv", CSV),
        ("TEXT/CSV;header=present", CSV),
        ("text/*", CSV),
        ("application/*", JSON),
        ("text/csv;q=0.5, application/json;q=0.4", CSV),
        ("text/csv;q=0.5, application/json;q=0.5", JSON),
        ("text/csv;q=0.5, */*;q=0.6", JSON),
        ("application/json;q=0, */*", CSV),
        ("application/vnd.apache.arrow.stream, application/json;q=0.9", ARROW),
        ("application/vnd.apache.arrow.stream;q=0.000, text/csv;q=0.001", CSV),
        ("text/html, */*;q=0.1", JSON),
        ("text/csv;q=high", CSV),
    ],
)
def test_the_preferred_type_is_chosen(accept: str, chosen: str) -> None:
    assert choose_media_type(accept, OFFERED) == chosen


@pytest.mark.parametrize("accept", ["text/html", "text/csv;q=0", "*/*;q=0", "image/*", "nonsense"])
def test_a_header_that_accepts_none_is_rejected_with_the_offer(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="only application/json, text/csv, "):
        choose_media_type(accept, OFFERED)


@given(st.text())
def test_any_header_chooses_or_is_rejected(accept: str) -> None:
    try:
        assert choose_media_type(accept, OFFERED) in OFFERED
    except NotAcceptable as exc:
        assert str(exc).isascii()  # noqa: PT017
