"""Check symbols that clients send, and name the field that is wrong."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.errors import FieldError, InvalidInput
from marketdata.errors import InvalidSymbol
from marketdata.symbols import normalize_symbol

# What normalize_symbol accepts before it trims and upper-cases; also ECMA-262, for OpenAPI.
RAW_SYMBOL_PATTERN = r"^[ \t\n\r\v\f]*[A-Za-z0-9^$.][A-Za-z0-9._\-/:^=+@$]{0,31}[ \t\n\r\v\f]*$"

# Invalid symbols named in one response; a list of 500 needs no 500 explanations.
_MAX_FIELD_ERRORS = 10


def parse_symbol(field: str, raw: str) -> str:
    """Return the symbol ``raw`` in normal form.

    Raises:
        InvalidInput: it is not a symbol.
    """
    try:
        return normalize_symbol(raw)
    except InvalidSymbol as exc:
        raise InvalidInput([FieldError(field, str(exc))]) from exc


def parse_symbols(field: str, lists: Iterable[str], limit: int) -> list[str]:
    """Return the symbols of comma-separated ``lists``, each once, in the order of the request.

    The limit is on what was sent, repetitions included.

    Raises:
        InvalidInput: there are more than ``limit``, or one is not a symbol.
    """
    lists = list(lists)
    # Counted before anything is split.
    count = len(lists) + sum(text.count(",") for text in lists)
    if count > limit:
        raise InvalidInput([FieldError(field, f"{count} symbols, limit is {limit}")])
    symbols: dict[str, None] = {}
    errors: list[FieldError] = []
    for raw in (part for text in lists for part in text.split(",")):
        try:
            symbols[normalize_symbol(raw)] = None
        except InvalidSymbol as exc:
            errors.append(FieldError(field, str(exc)))
            if len(errors) == _MAX_FIELD_ERRORS:
                break
    if errors:
        raise InvalidInput(errors)
    return list(symbols)


def parse_optional_symbol(field: str, raw: str) -> str:
    """Return the symbol or prefix ``raw`` in normal form; empty stays empty.

    Every prefix of a symbol is a symbol, so one rule serves both.

    Raises:
        InvalidInput: it is neither empty nor a symbol.
    """
    return parse_symbol(field, raw) if raw else ""
