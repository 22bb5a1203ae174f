"""Normalize symbols, and check that they are valid."""

from __future__ import annotations

import re

from marketdata.errors import InvalidSymbol

MAX_SYMBOL_LENGTH = 32

# Index (^GSPC), share class (BRK.B, BRK/B), pair (EUR/USD), future (ES=F) and option styles.
SYMBOL_PATTERN = r"[A-Z0-9^$.][A-Z0-9._\-/:^=+@$]{0,31}"
_SYMBOL = re.compile(SYMBOL_PATTERN)
_ASCII_SPACE = " \t\n\r\v\f"


def normalize_symbol(raw: str) -> str:
    """Return ``raw`` trimmed and in upper case.

    Only ASCII is changed: the dotless i and the long s have ASCII upper cases, and a symbol must
    not become another one.

    Raises:
        InvalidSymbol: the result is empty, longer than 32 characters, or has a character that a
            symbol must not have.
    """
    symbol = raw.strip(_ASCII_SPACE)
    if not symbol:
        raise InvalidSymbol(raw, "empty_symbol", "is empty")
    if len(symbol) > MAX_SYMBOL_LENGTH:
        problem = f"has {len(symbol)} characters, limit is {MAX_SYMBOL_LENGTH}"
        raise InvalidSymbol(raw, "symbol_too_long", problem)
    if symbol.isascii():
        symbol = symbol.upper()
        if _SYMBOL.fullmatch(symbol):
            return symbol
    raise InvalidSymbol(raw, "invalid_symbol", f"does not match {SYMBOL_PATTERN}")
