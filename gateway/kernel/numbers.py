"""Write numbers as JSON at an address; parts of the kernels.

All return the address after the text, or UNUSUAL where Python has to write the number. They write
whole words, so up to 8 bytes more are overwritten.
"""

from __future__ import annotations

import numpy as np

from marketdata.kernels import inlined_part, kernel_part
from marketdata.words import high_product, load_double, load_word, store_byte, store_word

# Instead of an address: the value is not for these loops.
UNUSUAL = 0

_E4, _E8, _E16, _E17 = 10**4, 10**8, 10**16, 10**17
POWERS = np.array([10**power for power in range(19)], np.int64)
# Those of 10 that a double holds exactly. From here on the steps of negative powers are in order.
_REALPOWERS = np.array([float(10**power) for power in range(23)])
_SMALLPOWERS = np.array([10.0**-power for power in range(6)])
_POWERS_OF_5 = np.array([5**power for power in range(28)], np.int64)
# Outside of these, numbers are rare, or written with an exponent.
_MIN_REAL, _MAX_REAL = 1e-5, 1e15
_DIGITS_ZERO = 0x3030303030303030
_FRACTION_BITS = 52
_FRACTION = (1 << _FRACTION_BITS) - 1
_MAX_SHIFT = 58


@inlined_part
def _eight_digits(value: int) -> int:
    # The digits of a number below 10**8 as text: first four numbers of two digits, then eight of
    # one, side by side in a word.
    high = value // _E4
    fours = high | (value - high * _E4) << 32
    hundreds = (fours * 10486) >> 20 & 0x0000007F0000007F
    twos = hundreds | (fours - hundreds * 100) << 16
    tens = (twos * 103) >> 10 & 0x000F000F000F000F
    return (tens | (twos - tens * 10) << 8) + _DIGITS_ZERO


@kernel_part
def put_digits(at: int, value: int, width: int) -> int:
    """Write the last digits of a number that is not negative, zeros before it."""
    if width > 16:
        high = value // _E16
        value -= high * _E16
        store_word(at, _eight_digits(high) >> (8 * (24 - width)))
        at += width - 16
        width = 16
    if width > 8:
        high = value // _E8
        value -= high * _E8
        store_word(at, _eight_digits(high) >> (8 * (16 - width)))
        at += width - 8
        width = 8
    store_word(at, _eight_digits(value) >> (8 * (8 - width)))
    return at + width


@kernel_part
def put_count(at: int, value: int) -> int:
    """Write a whole number; UNUSUAL if it is negative, or not below 2**63."""
    if value < 0:
        return UNUSUAL
    width = 1
    while width < 19 and value >= POWERS[width]:
        width += 1
    return put_digits(at, value, width)


@kernel_part
def _scale_of(value: float) -> int:
    # The power of ten of the first digit.
    scale = 0
    if value >= 1.0:
        while value >= _REALPOWERS[scale + 1]:
            scale += 1
    else:
        # A double that is the nearest to a power of ten is above it, for all of these.
        scale = -1
        while value < _SMALLPOWERS[-scale]:
            scale -= 1
    return scale


@kernel_part
def _round_to_17(bits: int, decimals: int) -> tuple[int, int]:
    # Returns the shortest digits of a double that has more than 15, and how many are decimals. All
    # is exact: the double times a power of ten is f * 5**decimals * 2**-shift, of at most 116 bits.
    fraction = bits & _FRACTION
    shift = 1075 - (bits >> _FRACTION_BITS) - decimals
    # The step below a power of two is half of the one above.
    if fraction == 0 or shift < 1 or shift > _MAX_SHIFT:
        return -1, 0
    fraction |= 1 << _FRACTION_BITS
    five = _POWERS_OF_5[decimals]
    low = fraction * five
    digits = high_product(fraction, five) << (64 - shift)
    digits |= low >> shift & ((1 << (64 - shift)) - 1)
    rest = low & ((1 << shift) - 1)
    # Half of the distance to the next double is 5**decimals / 2 in the units of the rest.
    fewer = digits // 10
    down = ((digits - fewer * 10) << shift) + rest
    up = (10 << shift) - down
    nearest = min(up, down)
    # Where the choice is even, other rules decide.
    if up == down or 2 * nearest == five or 2 * rest == 1 << shift:
        return -1, 0
    if 2 * nearest < five:
        return fewer + (up < down), decimals - 1
    return digits + (2 * rest > 1 << shift), decimals


@kernel_part
def _strip_zeros(digits: int, decimals: int) -> tuple[int, int]:
    if decimals >= 8 and digits % _E8 == 0:
        digits //= _E8
        decimals -= 8
    if decimals >= 4 and digits % _E4 == 0:
        digits //= _E4
        decimals -= 4
    while decimals > 0 and digits % 10 == 0:
        digits //= 10
        decimals -= 1
    return digits, decimals


@kernel_part
def put_real(at: int, place: int) -> int:
    """Write the double at an address in the shortest form that reads back the same."""
    bits, value = load_word(place), load_double(place)
    if bits < 0:
        store_byte(at, 0x2D)
        at += 1
        bits &= 0x7FFFFFFFFFFFFFFF
        value = -value
    if bits == 0:
        store_word(at, 0x302E30)
        return at + 3
    if not (_MIN_REAL <= value < _MAX_REAL):
        return UNUSUAL
    scale = _scale_of(value)
    # Two decimals of 15 digits are never the same double, so if one reads back, it is the shortest
    # but for its zeros. The product is wrong by less than a half, so it finds that one.
    decimals = 14 - scale
    power = _REALPOWERS[decimals]
    digits = int(value * power + 0.5)
    if float(digits) / power == value:
        digits, decimals = _strip_zeros(digits, decimals)
    else:
        digits, decimals = _round_to_17(bits, 16 - scale)
        if digits < 0 or digits >= _E17:
            return UNUSUAL
    return _put_decimal(at, digits, decimals, scale)


@kernel_part
def _put_decimal(at: int, digits: int, decimals: int, scale: int) -> int:
    if scale < 0:
        store_word(at, 0x3030303030302E30)
        return put_count(at + 1 - scale, digits)
    power = POWERS[decimals]
    whole = digits // power
    at = put_digits(at, whole, scale + 1)
    store_byte(at, 0x2E)
    if decimals == 0:
        store_byte(at + 1, 0x30)
        return at + 2
    return put_digits(at + 1, digits - whole * power, decimals)
