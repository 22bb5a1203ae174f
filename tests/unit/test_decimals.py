"""Sizes as exact decimals."""

from __future__ import annotations

from decimal import Context, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.decimals import plain_decimal, scaled, to_decimal


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.467", (467, 3)),
        ("27.00000000", (27, 0)),
        ("1E+6", (1_000_000, 0)),
        ("1.50", (15, 1)),
        ("100", (100, 0)),
        ("1.5E+3", (1500, 0)),
        ("1E-18", (1, 18)),
        ("0.00", (0, 0)),
        ("-0.50", (-5, 1)),
        ("0E+999999", (0, 0)),
        # Not rounded, however many digits there are.
        ("0.5" + "0" * 80 + "1", (5 * 10**81 + 1, 82)),
        ("0.5" + "0" * 80, (5, 1)),
    ],
)
def test_a_number_has_the_fewest_decimals(text: str, expected: tuple[int, int]) -> None:
    assert scaled(Decimal(text)) == expected


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-sNaN", "1E+60", "1E+999999999"])
def test_no_number_and_a_huge_one_are_errors(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a number|has more than 60 digits"):
        scaled(Decimal(text))


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 18))
def test_there_and_back(volume: int, decimals: int) -> None:
    value = to_decimal(volume, decimals)
    assert Decimal(plain_decimal(volume, decimals)) == value
    found, fewest = scaled(value)
    assert fewest <= decimals
    assert to_decimal(found, fewest) == value == Decimal(volume).scaleb(-decimals, Context(60))
    assert fewest == 0 or found % 10
