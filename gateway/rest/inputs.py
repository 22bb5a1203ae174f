"""Check symbols that clients send, and name the field that is wrong."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BeforeValidator

from gateway.errors import FieldError, InvalidInput
from marketdata.errors import InvalidSymbol
from marketdata.numbers import parse_int
from marketdata.symbols import (
    BLANKS,
    MAX_SYMBOL_LENGTH,
    SYMBOL_CHARACTERS,
    VISIBLE_CHARACTERS,
    is_allowed,
    normalize_symbol,
)

# What normalize_symbol accepts before it trims, and how symbols may begin; also ECMA-262, for
# OpenAPI.
_BLANKS = r"[ \t\n\r\v\f]*"
RAW_SYMBOL_PATTERN = (
    rf"^{_BLANKS}{VISIBLE_CHARACTERS}"
    rf"(?:{SYMBOL_CHARACTERS}{{0,{MAX_SYMBOL_LENGTH - 2}}}{VISIBLE_CHARACTERS})?{_BLANKS}$"
)
PREFIX_PATTERN = (
    rf"^{_BLANKS}(?:{VISIBLE_CHARACTERS}{SYMBOL_CHARACTERS}{{0,{MAX_SYMBOL_LENGTH - 1}}})?$"
)


def _read_int(value: object) -> object:
    # pydantic takes 1_000 for a number, as Python does.
    return parse_int(value) if isinstance(value, str) else value


# For a whole number in a query, after its limits, which else are not in OpenAPI.
IN_DIGITS = BeforeValidator(_read_int)

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
    """Return the symbol ``raw`` in normal form; empty stays empty.

    Raises:
        InvalidInput: it is neither empty nor a symbol.
    """
    return parse_symbol(field, raw) if raw else ""


def parse_prefix(field: str, raw: str) -> str:
    """Return how symbols are to begin; blanks at its end count.

    Raises:
        InvalidInput: no symbol begins so.
    """
    prefix = raw.lstrip(BLANKS)
    if len(prefix) > MAX_SYMBOL_LENGTH or not is_allowed(prefix):
        raise InvalidInput([FieldError(field, f"no symbol begins with {prefix[:40]!r}")])
    return prefix
