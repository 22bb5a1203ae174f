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
        ValueError: it is not a finite number.
    """
    if not value.is_finite():
        raise ValueError(f"{value} is not a number")
    sign, digits, exponent = value.normalize(EXACT).as_tuple()
    volume = int("".join(map(str, digits))) * (-1 if sign else 1)
    # Of a finite number the exponent is one.
    power = int(exponent)
    return (volume * 10**power, 0) if power > 0 else (volume, -power)
