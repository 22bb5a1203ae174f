"""Decide by the symbol which prices are valid: above 0, from 0 on, or negative ones too."""

from __future__ import annotations

import re
from typing import Literal, get_args

PriceRule = Literal["positive", "nonnegative", "any"]

_RULES = {rule: rule for rule in get_args(PriceRule)}
DEFAULT_PRICE_RULES = "*=positive"
_DEFAULT: PriceRule = "positive"
# Symbols with prices of 0 and below are few; when full, the memory is cleared.
_MAX_REMEMBERED = 10_000


class PriceRules:
    """Find the rule of a symbol: that of the longest pattern which it matches, else ``positive``.

    Args:
        text: patterns and rules, such as ``*=positive,CL*=any``. A ``*`` stands for any characters.
            Of patterns of one length, the first counts.

    Raises:
        ValueError: the text is not valid.
    """

    def __init__(self, text: str = DEFAULT_PRICE_RULES) -> None:
        pairs = [_parse(each.strip()) for each in text.split(",") if each.strip()]
        # The order of equal lengths stays.
        pairs.sort(key=lambda pair: -len(pair[0]))
        self._patterns = [(_compile(pattern), rule) for pattern, rule in pairs]
        self._known: dict[str, PriceRule] = {}
        #: Whether prices of 0 or below are valid for some symbols.
        self.has_others = any(rule != "positive" for _, rule in pairs)

    def of(self, symbol: str) -> PriceRule:
        """Return the rule of a symbol."""
        known = self._known.get(symbol)
        if known is not None:
            return known
        found = (rule for pattern, rule in self._patterns if pattern.fullmatch(symbol))
        rule = next(found, _DEFAULT)
        if len(self._known) >= _MAX_REMEMBERED:
            self._known.clear()
        self._known[symbol] = rule
        return rule


def check_price_rules(text: str) -> str:
    """Return the text of rules that are valid.

    Raises:
        ValueError: they are not.
    """
    PriceRules(text)
    return text


def _parse(pair: str) -> tuple[str, PriceRule]:
    # A symbol may have an equals sign.
    pattern, _, name = pair.rpartition("=")
    rule = _RULES.get(name.strip())
    if not pattern.strip() or rule is None:
        known = ", ".join(_RULES)
        raise ValueError(f"{pair!r:.80} is not <pattern>=<rule>; the rules are {known}")
    return pattern.strip(), rule


def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))))
