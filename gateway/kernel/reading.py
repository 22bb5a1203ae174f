"""Read the fields of a message into places; parts of the kernels.

The places are words, one for each field: the bits of a double, a whole number, or the address of a
text, whose length stands MAX_FIELDS words further on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gateway.kernel.layout import DOUBLE, INTEGER, MAX_FIELDS, SHORT, STRING
from marketdata.kernels import inlined_part, kernel_part
from marketdata.symbols import MAX_SYMBOL_LENGTH
from marketdata.words import load_byte, load_word, store_word

PLACES_BYTES = 2 * 8 * MAX_FIELDS
# From the address of a text to its length.
LENGTHS = 8 * MAX_FIELDS

_VARINT, _FIXED64, _LENGTH = 0, 1, 2
_MAX_TEXT = MAX_SYMBOL_LENGTH
_MAX_SHORT = 2**31 - 1


@kernel_part
def read_varint(at: int, end: int) -> tuple[int, int]:
    """Return a varint of at most nine bytes, and the address after it; -1: it is another."""
    value = shift = 0
    while at < end and shift < 63:
        byte = load_byte(at)
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    return -1, at


@inlined_part
def _is_plain(at: int, length: int) -> bool:
    # Whether JSON has this text as it is: printable ASCII but for the quote and the backslash.
    plain = True
    for offset in range(length):
        byte = load_byte(at + offset)
        plain &= 0x20 <= byte <= 0x7E and byte not in (0x22, 0x5C)
    return plain


@kernel_part
def read_fields(at: int, end: int, types: NDArray[np.int64], places: int) -> bool:
    """Read a message up to ``end``; return False unless it is all known, in any order."""
    for offset in range(0, PLACES_BYTES, 8):
        store_word(places + offset, 0)
    while at < end:
        tag, at = read_varint(at, end)
        number, wire_type = tag >> 3, tag & 7
        if tag < 0 or number >= types.shape[0]:
            return False
        kind = types[number] & 7
        place = places + types[number] - kind
        if wire_type == _VARINT and kind in (INTEGER, SHORT):
            value, at = read_varint(at, end)
            if value < 0 or (kind == SHORT and value > _MAX_SHORT):
                return False
            store_word(place, value)
        elif wire_type == _FIXED64 and kind == DOUBLE and end - at >= 8:
            store_word(place, load_word(at))
            at += 8
        elif wire_type == _LENGTH and kind == STRING:
            length, at = read_varint(at, end)
            if length < 0 or length > _MAX_TEXT or length > end - at or not _is_plain(at, length):
                return False
            store_word(place, at)
            store_word(place + LENGTHS, length)
            at += length
        else:
            return False
    return True
