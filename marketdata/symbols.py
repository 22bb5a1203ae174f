r"""Normalize symbols, and check that they are valid.

A symbol is 1 to 64 bytes of printable ASCII, except for the comma, ``*``, ``"`` and ``\``. Blanks
around it are not part of it. All else counts: case, and each blank inside.
"""

from __future__ import annotations

import re
from typing import Literal

from marketdata.errors import InvalidSymbol

MAX_SYMBOL_LENGTH = 64
# What is trimmed from both ends.
BLANKS = " \t\n\r\v\f"
# The characters of a symbol, for a regular expression also of ECMA-262, and those that it begins
# and ends with. A comma separates symbols in lists, and * stands for all of them; without " and \
# a symbol needs no escapes in JSON.
SYMBOL_CHARACTERS = r"[ !#-)+\-.\/0-\[\]-~]"
VISIBLE_CHARACTERS = r"[!#-)+\-.\/0-\[\]-~]"

SymbolCase = Literal["preserve", "upper"]

_ALLOWED = re.compile(rf"{SYMBOL_CHARACTERS}*")


def normalize_symbol(raw: str, case: SymbolCase = "preserve") -> str:
    """Return ``raw`` without the blanks around it, in upper case if ``case`` says so.

    Raises:
        InvalidSymbol: the result is empty, longer than 64 characters, or has a character that a
            symbol must not have.
    """
    symbol = raw.strip(BLANKS)
    if not symbol:
        raise InvalidSymbol(raw, "empty_symbol", "is empty")
    if len(symbol) > MAX_SYMBOL_LENGTH:
        problem = f"has {len(symbol)} characters, limit is {MAX_SYMBOL_LENGTH}"
        raise InvalidSymbol(raw, "symbol_too_long", problem)
    if not is_allowed(symbol):
        problem = 'must be printable ASCII without , * " \\'
        raise InvalidSymbol(raw, "invalid_symbol", problem)
    # Only after the check: the dotless i and the long s have ASCII upper cases, and a symbol must
    # not become another one.
    return symbol.upper() if case == "upper" else symbol


def is_allowed(text: str) -> bool:
    """Return whether ``text`` has only characters that a symbol may have."""
    return _ALLOWED.fullmatch(text) is not None


def in_other_case(symbol: str) -> list[str]:
    """Return ``symbol`` in upper and in lower case, as far as that is another symbol."""
    return [each for each in (symbol.upper(), symbol.lower()) if each != symbol]
