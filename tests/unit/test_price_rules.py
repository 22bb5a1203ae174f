"""The rules of prices by symbol."""

from __future__ import annotations

import re

import pytest

from marketdata.price_rules import PriceRule, PriceRules, check_price_rules


@pytest.mark.parametrize(
    ("text", "symbol", "rule"),
    [
        ("*=positive", "AAPL", "positive"),
        ("", "AAPL", "positive"),
        ("CL*=any", "AAPL", "positive"),
        ("*=positive,CL*=any", "CLZ4", "any"),
        ("*=positive,CL*=any", "CL", "any"),
        ("*=positive,CL*=any", "ICL", "positive"),
        ("*=positive,CL*=any", "cl1", "positive"),
        ("CL*=any,*=nonnegative", "AAPL", "nonnegative"),
        # The longest pattern counts, wherever it stands.
        ("*=any,CL*=nonnegative,CLZ4=positive", "CLZ4", "positive"),
        ("CLZ4=positive,CL*=nonnegative,*=any", "CLZ4", "positive"),
        # Of equal lengths, the first.
        ("A*=any,*B=nonnegative", "AB", "any"),
        ("*B=nonnegative,A*=any", "AB", "nonnegative"),
        # A symbol may have an equals sign, dots and spaces.
        ("CL=F=any", "CL=F", "any"),
        ("*-SPREAD*=any", "CL-SPREAD 1", "any"),
        ("A.B=any", "AxB", "positive"),
        (" CL* = any , * = positive ", "CLX", "any"),
    ],
)
def test_the_longest_pattern_decides(text: str, symbol: str, rule: PriceRule) -> None:
    rules = PriceRules(text)
    assert rules.of(symbol) == rule
    assert rules.of(symbol) == rule


@pytest.mark.parametrize("text", ["any", "=any", "CL*=", "CL*=negative", "*=positive,CL*"])
def test_other_rules_are_refused_by_name(text: str) -> None:
    problem = re.escape(repr(text.rsplit(",", 1)[-1])) + ".*positive, nonnegative, any"
    with pytest.raises(ValueError, match=problem):
        check_price_rules(text)


@pytest.mark.parametrize(
    ("text", "has_others"),
    [("*=positive", False), ("", False), ("A=nonnegative", True), ("*=any,B=positive", True)],
)
def test_whether_any_symbol_may_have_a_price_of_0_or_below(text: str, *, has_others: bool) -> None:
    assert PriceRules(text).has_others is has_others
