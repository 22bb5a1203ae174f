"""Sizes as exact decimals: an integer that counts 10^-decimals."""

from __future__ import annotations

from decimal import Context, Decimal

# Sums of sizes are exact: an int64 with 18 decimals, 10^20 of them.
EXACT = Context(prec=60)


def plain(value: Decimal) -> str:
    """Return a number as digits without an exponent, and without zeros after its last decimal."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def plain_decimal(volume: int, decimals: int) -> str:
    """Return ``volume`` x 10^-decimals as digits: ``"0.469"``, ``"1000000"``."""
    if not decimals:
        return str(volume)
    digits = str(abs(volume)).rjust(decimals + 1, "0")
    fraction = digits[-decimals:].rstrip("0")
    whole = ("-" if volume < 0 else "") + digits[:-decimals]
    return f"{whole}.{fraction}" if fraction else whole


def to_decimal(volume: int, decimals: int) -> Decimal:
    """Return ``volume`` x 10^-decimals."""
    return Decimal(volume).scaleb(-decimals, EXACT)


def scaled(value: Decimal) -> tuple[int, int]:
    """Return the volume and the decimals of a number, with the fewest decimals.

    Raises:
        ValueError: it is not a finite number, or has more than 60 digits before the point.
    """
    sign, figures, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise ValueError(f"{value} is not a number")  # noqa: TRY004  it is a Decimal
    digits = "".join(map(str, figures)).lstrip("0")
    if not digits:
        return 0, 0
    # No 10**power of a huge power is made.
    if len(digits) + exponent > EXACT.prec:
        raise ValueError(f"{value:.60} has more than {EXACT.prec} digits")
    decimals = 0
    if exponent < 0:
        zeros = len(digits) - len(digits.rstrip("0"))
        decimals = max(0, -exponent - zeros)
        digits = digits[: len(digits) + exponent + decimals]
    volume = int(digits) * 10 ** max(0, exponent)
    return (-volume if sign else volume), decimals
