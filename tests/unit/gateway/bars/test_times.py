"""Which times are understood, and that none is read as another."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bars.times import PATTERN, parse_time
from gateway.errors import InvalidInput

NS = 1_735_201_234_567_890_123


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("0", 0),
        ("100000000000", 100_000_000_000 * 10**6),
        ("1735201234567", 1_735_201_234_567 * 10**6),
        # Milliseconds of the year 5138: an int64 of nanoseconds ends in 2262.
        ("99999999999999", None),
        ("1735201234567890", 1_735_201_234_567_890 * 1000),
        ("1735201234567890123", NS),
        ("2024-12-26T08:20:34.567890123Z", NS),
        ("2024-12-26T08:20:34.567890123+00:00", NS),
        ("2024-12-26T09:20:34,567890123+01:00", NS),
        ("2024-12-26T09:20:34.567890123+0100", NS),
        # A plus sign that was not encoded.
        ("2024-12-26T09:20:34.567890123 01:00", NS),
        ("2024-12-26T03:20:34.567890123-05:00", NS),
        ("2024-12-26 08:20Z", 1_735_201_200 * 10**9),
        ("2024-12-26t08:20:00z", 1_735_201_200 * 10**9),
        ("2024-02-29T00:00:00Z", 1_709_164_800 * 10**9),
        ("1970-01-01T00:00:00.000000001Z", 1),
    ],
)
def test_a_time_is_read_to_the_nanosecond(text: str, ns: int | None) -> None:
    if ns is None:
        with pytest.raises(InvalidInput, match="after the year 2262"):
            parse_time("from", text)
    else:
        assert parse_time("from", text) == ns


@pytest.mark.parametrize("text", ["1", "1735201234", "99999999999"])
def test_seconds_are_refused_saying_so(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^from: .*looks like seconds.*use milliseconds"):
        parse_time("from", text)


@pytest.mark.parametrize(
    "text",
    [
        "-1",
        "+1735201234567",
        "1e12",
        "1735201234567.5",
        "٣" * 13,
        "yesterday",
        "2024-12-26",
        "2024-12-26T08:20:34",
        "2024-12-26T08:20:34.1234567890Z",
        "2024-12-26T08:20:34+24:00",
        "2024-13-26T08:20:34Z",
        "2023-02-29T08:20:34Z",
        "2024-12-26T24:20:34Z",
        "1969-12-31T23:59:59Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+10:00",
        "9999-12-31T23:59:59-10:00",
        "2262-04-12T00:00:00Z",
        "9" * 20,
        "9" * 5000,
        "Z",
        " ",
    ],
)
def test_what_is_no_time_names_the_field_and_what_is_one(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^to: .*use milliseconds") as caught:
        parse_time("to", text)
    assert len(str(caught.value)) < 400


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2199, 12, 31)),
    st.integers(-12 * 60, 12 * 60),
)
def test_every_time_with_a_zone_is_read_as_pythons_own(naive: datetime, minutes: int) -> None:
    moment = naive.replace(tzinfo=UTC).astimezone(timezone(timedelta(minutes=minutes)))
    ns = parse_time("from", moment.isoformat())
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    assert ns == since // timedelta(microseconds=1) * 1000


@given(st.from_regex(PATTERN, fullmatch=True))
def test_what_the_document_calls_a_time_is_one(text: str) -> None:
    assert re.fullmatch(PATTERN, text)
    try:
        assert parse_time("from", text) >= 0
    except InvalidInput as exc:
        assert "is after the year 2262" in str(exc) or "is before 1970" in str(exc)  # noqa: PT017
