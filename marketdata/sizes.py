"""Read sizes exactly: whole numbers of 10^-decimals, never through a float."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from marketdata.numbers import check_digits
from marketdata.validation import MAX_VOLUME_DECIMALS

_MAX_INT64 = 2**63 - 1
# The longest whole number that may fit.
_MAX_DIGITS = 19
TOO_MANY_DECIMALS = f"has more than {MAX_VOLUME_DECIMALS} decimals"
TOO_LARGE = f"is above {_MAX_INT64}, the largest number of units"


def parse_size(text: str) -> tuple[int, int]:
    """Return the volume and its decimals, without zeros at the end.

    ``0.467`` is (467, 3), ``27.00000000`` is (27, 0) and ``1E+6`` is (1000000, 0).

    Raises:
        ValueError: it is not a number, or does not fit; the message is the rest of a sentence.
    """
    try:
        check_digits(text)
        number = Decimal(text.strip())
    except (InvalidOperation, ValueError):
        raise ValueError("is not a number") from None
    return decimal_size(number)


def decimal_size(number: Decimal) -> tuple[int, int]:
    """Return the volume and its decimals, as :func:`parse_size` does.

    Raises:
        ValueError: it does not fit.
    """
    sign, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int):
        raise ValueError("is not a number")  # noqa: TRY004  the text is wrong, not a type
    end = len(digits)
    while end and not digits[end - 1]:
        end -= 1
    if not end:
        return 0, 0
    exponent += len(digits) - end
    if exponent < -MAX_VOLUME_DECIMALS:
        raise ValueError(TOO_MANY_DECIMALS)
    # Before a number of that length is made.
    if end + max(exponent, 0) > _MAX_DIGITS:
        raise ValueError(TOO_LARGE)
    volume = int("".join(map(str, digits[:end]))) * 10 ** max(exponent, 0)
    if volume > _MAX_INT64:
        raise ValueError(TOO_LARGE)
    return -volume if sign else volume, max(-exponent, 0)
