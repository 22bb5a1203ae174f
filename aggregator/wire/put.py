"""Write numbers and texts of a protobuf message at an address; parts of the encoders.

All return the address after what they wrote. They write whole words, so up to 16 bytes more are
overwritten.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from marketdata.kernels import kernel_part
from marketdata.words import copy_block, leading_zeros, store_byte, store_double, store_word

# The high bit of each byte of a word.
_MORE = -0x7F7F7F7F7F7F7F80


@kernel_part
def address_of(buffer: NDArray[Any]) -> int:
    """Return the address of the first byte."""
    # It is unsigned, and the sum of that and an int64 is an int64.
    return 0 + buffer.ctypes.data


@kernel_part
def number_size(value: int) -> int:
    """Return how many bytes a varint has, 10 for a negative one."""
    return ((63 - leading_zeros(value | 1)) * 9 + 73) >> 6


@kernel_part
def put_number(at: int, value: int) -> int:
    """Write a varint."""
    # Seven bits to a byte, eight bytes at once.
    x = value & 0x00FFFFFFFFFFFFFF
    x = (x & 0x000000000FFFFFFF) | ((x & 0x00FFFFFFF0000000) << 4)
    x = (x & 0x00003FFF00003FFF) | ((x & 0x0FFFC0000FFFC000) << 2)
    x = (x & 0x007F007F007F007F) | ((x & 0x3F803F803F803F80) << 1)
    size = number_size(value)
    if size <= 8:
        store_word(at, x | (_MORE & ((1 << (8 * (size - 1))) - 1)))
        return at + size
    store_word(at, x | _MORE)
    last = value >> 56 & 0x7F
    if size == 9:
        store_byte(at + 8, last)
    else:
        store_word(at + 8, last | 0x80 | 0x100)
    return at + size


@kernel_part
def put_double(at: int, value: float) -> int:
    """Write a double."""
    store_double(at, value)
    return at + 8


@kernel_part
def put_text(at: int, text: int, length: int) -> int:
    """Write a text with its length. 16 bytes are read at once, from its address on."""
    store_byte(at, length)
    copy_block(at + 1, text)
    for offset in range(16, length, 16):
        copy_block(at + 1 + offset, text + offset)
    return at + 1 + length
