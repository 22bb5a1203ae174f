"""Parse numbers that others write.

Python's own ``int`` and ``float`` take more than numbers: underscores between digits (``1_50.25``)
and the digits of every script.
"""

from __future__ import annotations


def parse_int(text: str) -> int:
    """Return the whole number that ``text`` is.

    Raises:
        ValueError: it is not a whole number in ASCII digits.
    """
    check_digits(text)
    return int(text)


def parse_float(text: str) -> float:
    """Return the number that ``text`` is; ``nan`` and ``inf`` are numbers too.

    Raises:
        ValueError: it is not a number in ASCII digits.
    """
    check_digits(text)
    return float(text)


def check_digits(text: str) -> None:
    """Check that ``text`` has nothing that only Python takes for a part of a number.

    Raises:
        ValueError: it has.
    """
    if "_" in text or not text.isascii():
        raise ValueError(f"{text[:50]!r} is not a number")
