"""Write the JSON of a message from places; parts of the kernels.

All return the address after what they wrote, or UNUSUAL where Python has to write it. They write
whole blocks, so up to 32 bytes more are overwritten.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from gateway.kernel.layout import (
    CHOICE,
    COMPLETE,
    NUMBER,
    QUOTED,
    QUOTED_MS,
    REAL,
    SIZE,
    TEXT_OR_NULL,
)
from gateway.kernel.numbers import POWERS, UNUSUAL, put_count, put_digits, put_real
from gateway.kernel.reading import LENGTHS
from marketdata.kernels import inlined_part, kernel_part
from marketdata.timestamps import NS_PER_MS
from marketdata.validation import MAX_VOLUME_DECIMALS
from marketdata.words import copy_block, load_word, store_word

_QUOTE, _POINT = 0x22, 0x2E
_NULL = 0x6C6C756E
_BRACE = 0x7D


@inlined_part
def _put_constant(at: int, text: Any) -> int:
    store_word(at, text.word0)
    store_word(at + 8, text.word1)
    store_word(at + 16, text.word2)
    store_word(at + 24, text.word3)
    size: int = text.size
    return at + size


@inlined_part
def _put_text(at: int, text: int, length: int) -> int:
    store_word(at, _QUOTE)
    for offset in range(0, length, 16):
        copy_block(at + 1 + offset, text + offset)
    store_word(at + 1 + length, _QUOTE)
    return at + 2 + length


@inlined_part
def _put_quoted(at: int, value: int) -> int:
    store_word(at, _QUOTE)
    at = put_count(at + 1, value)
    if at != UNUSUAL:
        store_word(at, _QUOTE)
        at += 1
    return at


@kernel_part
def _put_size(at: int, value: int, decimals: int) -> int:
    if decimals > MAX_VOLUME_DECIMALS or value < 0:
        return UNUSUAL
    while decimals > 0 and value % 10 == 0:
        value //= 10
        decimals -= 1
    if decimals == 0:
        return _put_quoted(at, value)
    store_word(at, _QUOTE)
    at = put_count(at + 1, value // POWERS[decimals])
    store_word(at, _POINT)
    at = put_digits(at + 1, value % POWERS[decimals], decimals)
    store_word(at, _QUOTE)
    return at + 1


@kernel_part
def _put_word(at: int, value: int, words: NDArray[Any], first: int, count: int) -> int:
    index, last = first, first + count - 1
    while index < last and words[index].number != value:
        index += 1
    text = words[index].text
    if text.size == 0:
        return UNUSUAL
    return _put_constant(at, text)


@kernel_part
def put_json(at: int, columns: NDArray[Any], words: NDArray[Any], places: int, refused: int) -> int:
    """Write a message; ``refused`` is the place of the number that its completeness needs."""
    for index in range(columns.shape[0]):
        column = columns[index]
        at = _put_constant(at, column.key)
        place = places + column.offset
        value = load_word(place)
        kind = column.kind
        if kind == REAL:
            at = put_real(at, place)
        elif kind == QUOTED:
            at = _put_quoted(at, value)
        elif kind == SIZE:
            at = _put_size(at, value, load_word(places + column.decimals))
        elif kind == QUOTED_MS:
            at = _put_quoted(at, value // NS_PER_MS)
        elif kind == NUMBER:
            at = put_count(at, value)
        elif kind in (CHOICE, COMPLETE):
            if kind == COMPLETE and load_word(refused) != 0:
                value = 0
            at = _put_word(at, value, words, column.first_word, column.words)
        elif kind == TEXT_OR_NULL and load_word(place + LENGTHS) == 0:
            store_word(at, _NULL)
            at += 4
        else:
            at = _put_text(at, value, load_word(place + LENGTHS))
        if at == UNUSUAL:
            return UNUSUAL
    store_word(at, _BRACE)
    return at + 1
