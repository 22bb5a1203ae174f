"""What clients may ask for."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import FieldError, InvalidInput
from gateway.rest.inputs import (
    PREFIX_PATTERN,
    RAW_SYMBOL_PATTERN,
    parse_optional_symbol,
    parse_prefix,
    parse_symbol,
    parse_symbols,
)
from marketdata.errors import InvalidSymbol
from marketdata.symbols import normalize_symbol

symbolish = st.text(st.sampled_from(' \t\nabZ09^$._-/:=+@%~!*"\\,é\u0131'), max_size=80)


@given(symbolish | st.text(max_size=40))
def test_the_documented_pattern_allows_what_is_accepted(raw: str) -> None:
    try:
        normalize_symbol(raw)
        accepted = True
    except InvalidSymbol:
        accepted = False
    assert (re.fullmatch(RAW_SYMBOL_PATTERN, raw) is not None) == accepted


def test_a_symbol_is_normalized() -> None:
    assert parse_symbol("symbol", " brk/B ") == "brk/B"


def test_a_bad_symbol_names_its_field() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_symbol("symbol", "x" * 65)
    assert caught.value.errors == (
        FieldError("symbol", f"symbol '{'x' * 40}' has 65 characters, limit is 64"),
    )


@pytest.mark.parametrize(
    ("lists", "symbols"),
    [
        (["A"], ["A"]),
        (["B,A,B, A ,a"], ["B", "A", "a"]),
        (["B,A", "C,B"], ["B", "A", "C"]),
    ],
)
def test_symbols_keep_their_order_and_come_once(lists: list[str], symbols: list[str]) -> None:
    assert parse_symbols("symbols", lists, 10) == symbols


@pytest.mark.parametrize("lists", [[""], ["A,"], [",A"], ["A,,B"], ["A", ""], [" "]])
def test_an_empty_symbol_in_a_list_is_refused(lists: list[str]) -> None:
    with pytest.raises(InvalidInput, match="is empty"):
        parse_symbols("symbols", lists, 10)


def test_every_bad_symbol_of_a_list_is_named_up_to_ten() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_symbols("symbols", ["A,*,B,é"], 10)
    assert [error.detail[:10] for error in caught.value.errors] == ["symbol '*'", "symbol 'é'"]
    with pytest.raises(InvalidInput) as caught:
        parse_symbols("symbols", [",".join("*" * 50)], 50)
    assert len(caught.value.errors) == 10


def test_the_limit_counts_what_was_sent() -> None:
    assert parse_symbols("symbols", ["A,B", "A"], 3) == ["A", "B"]
    with pytest.raises(InvalidInput, match="symbols: 4 symbols, limit is 3"):
        parse_symbols("symbols", ["A,B", "A,A"], 3)


def test_a_prefix_may_be_empty_and_must_else_begin_a_symbol() -> None:
    assert parse_prefix("prefix", "") == ""
    assert parse_prefix("prefix", " brk.") == "brk."
    # The blanks at its end are inside of AAPL  251219C00150000.
    assert parse_prefix("prefix", "AAPL  ") == "AAPL  "
    for prefix in ("*", "A,", "é", "A" * 65):
        with pytest.raises(InvalidInput, match="prefix: "):
            parse_prefix("prefix", prefix)
        assert re.fullmatch(PREFIX_PATTERN, prefix) is None
    for prefix in ("", " brk.", "AAPL  ", "A" * 64):
        assert re.fullmatch(PREFIX_PATTERN, prefix)


def test_a_cursor_may_be_empty_and_is_else_a_symbol() -> None:
    assert parse_optional_symbol("cursor", "") == ""
    assert parse_optional_symbol("cursor", "brk.b") == "brk.b"
    with pytest.raises(InvalidInput, match="cursor: "):
        parse_optional_symbol("cursor", "*")
