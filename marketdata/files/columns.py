"""Turn columns of text into exact numbers, fast where they are plain, and name what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from marketdata.files.times import NotFast, split_decimals
from marketdata.numbers import parse_float
from marketdata.sizes import parse_size

# Below this, values are read one by one.
_FEW = 64
# Every whole number up to it is a double.
_EXACT = 2**53


def read_column(
    texts: Any,
    fast: Callable[[Any], NDArray[Any]],
    plain: Callable[[str], Any],
    out: NDArray[Any],
) -> dict[int, str]:
    """Fill ``out`` with the values of a column.

    Where the fast form fails, the column is halved, so that a few odd values cost little.

    Returns:
        What is wrong with a value, by its place.
    """
    problems: dict[int, str] = {}
    waiting = [(0, len(texts))]
    while waiting:
        first, end = waiting.pop()
        part = texts.slice(first, end - first)
        try:
            out[first:end] = fast(part)
        except (NotFast, pa.ArrowInvalid):
            if end - first > _FEW:
                middle = (first + end) // 2
                waiting += [(middle, end), (first, middle)]
                continue
            for place, text in enumerate(as_texts(part), first):
                try:
                    out[place] = plain(text)
                except ValueError as exc:
                    problems[place] = str(exc)
    return problems


def as_texts(texts: Any) -> list[str]:
    """Return a column as strings; bytes that are not UTF-8 are replaced."""
    return [value.decode(errors="replace") for value in texts.cast(pa.binary()).to_pylist()]


class Prices:
    """Read prices as the doubles that their decimals stand for.

    Args:
        decimals: prices without a point count 10^-decimals.
        comma: whether a comma stands before the decimals.
    """

    def __init__(self, decimals: int = 0, *, comma: bool = False) -> None:
        self._decimals = decimals
        self._comma = comma

    def read(self, text: str) -> float:
        """Return one price; raise ``ValueError`` with the rest of a sentence."""
        try:
            plain = point_for_comma(text) if self._comma else text
            price = parse_float(plain)
            if self._decimals and plain.strip().lstrip("+-").isdigit():
                # Python divides whole numbers of any size exactly.
                price = int(plain) / 10**self._decimals
        except (ValueError, OverflowError):
            raise ValueError("is not a number") from None
        if not isfinite(price):
            raise ValueError("is not a finite number")
        return price

    def read_all(self, texts: Any) -> NDArray[np.float64]:
        """Return the prices of a column."""
        if self._comma:
            texts = _points_for_commas(texts)
        prices = np.asarray(pc.cast(texts, pa.float64()).to_numpy(zero_copy_only=False))
        if not np.isfinite(prices).all():
            raise NotFast
        if self._decimals:
            has_point = pc.match_substring_regex(texts, r"[.eE]").to_numpy(zero_copy_only=False)
            if (np.abs(prices[~has_point]) >= _EXACT).any():
                raise NotFast
            prices = np.where(has_point, prices, prices / 10**self._decimals)
        return prices


class Sizes:
    """Read sizes as whole numbers of 10^-decimals: a column of volumes and one of decimals."""

    def __init__(self, *, comma: bool = False) -> None:
        self._comma = comma

    def read(self, text: str) -> tuple[int, int]:
        """Return one size; raise ``ValueError`` with the rest of a sentence."""
        return parse_size(point_for_comma(text) if self._comma else text)

    def read_all(self, texts: Any) -> NDArray[np.int64]:
        """Return the sizes of a column."""
        if self._comma:
            texts = _points_for_commas(texts)
        volumes, decimals = split_decimals(texts)
        while (ends := (decimals > 0) & (volumes % 10 == 0)).any():
            volumes[ends] //= 10
            decimals[ends] -= 1
        return np.stack((volumes, decimals), axis=1)


def point_for_comma(text: str) -> str:
    """Return a number that has a comma before its decimals as one with a point."""
    if "." in text:
        raise ValueError("is not a number")
    return text.replace(",", ".")


def _points_for_commas(texts: Any) -> Any:
    if pc.any(pc.match_substring(texts, ".")).as_py():
        raise NotFast
    return pc.replace_substring(texts, ",", ".")
