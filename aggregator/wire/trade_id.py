"""Pack trade ids into two words, by which they are remembered and compared.

An id of at most 15 bytes is packed as it is. Of a longer one 120 bits of a hash are kept, so two of
10^7 ids are taken for the same with a probability of 10^-22.
"""

from __future__ import annotations

from marketdata.kernels import inlined_part, kernel_part
from marketdata.words import load_word

# Ids up to this length are packed as they are.
_PLAIN = 15
# The highest byte of a hashed one; that of a plain one is its length.
_HASHED = -1 << 56
_MIX_0 = -7046029254386353131
_MIX_1 = -4417276706812531889
_MIX_2 = 1609587929392839161


@inlined_part
def _word_at(at: int, length: int) -> int:
    # The next bytes of an id, of which so many are left; a tick has at least 8 bytes before its id.
    if length >= 8:
        return load_word(at)
    if length <= 0:
        return 0
    word = load_word(at - 8 + length)
    return (word >> (8 * (8 - length))) & ((1 << (8 * length)) - 1)


@kernel_part
def _shift(value: int) -> int:
    return value ^ ((value >> 29) & ((1 << 35) - 1))


@inlined_part
def pack_id(at: int, length: int) -> tuple[int, int]:
    """Return the words of the id at an address, with a length of 1 to 64 bytes.

    The eight bytes before the address can be read.
    """
    if length <= _PLAIN:
        return _word_at(at, length), _word_at(at + 8, length - 8) | length << 56
    first, second = _MIX_2 ^ length, _MIX_1 + length
    for offset in range(0, length, 8):
        word = _word_at(at + offset, length - offset)
        first = _shift((first ^ word) * _MIX_0)
        second = _shift((second + word) * _MIX_1) ^ first
    return _shift(first * _MIX_2), (second & ((1 << 56) - 1)) | _HASHED
