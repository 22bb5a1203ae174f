"""Know how the times of a file are written by the first of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from marketdata.files.options import InDoubt
from marketdata.files.times import PATTERNS, Counted, Epoch, OfDay, Order, Times, Written

_WHOLE = re.compile(r"\d+", re.ASCII)
_NUMBER = re.compile(r"\d+\.\d+", re.ASCII)
_SECONDS_OF_DAY = 86_400
_CLOCK = re.compile(r"\d\d?:\d\d.*|\d{6}[\d.]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class TimeColumn:
    """The first times of a file, and what is known of them."""

    texts: Sequence[str]
    # The days that stand in a column of their own.
    dates: Sequence[str]
    # The day of all of them, as 20250103.
    day: str
    zone: str
    order: str
    # Whether the format says that numbers are times since 1970.
    is_known: bool


def find_times(column: TimeColumn) -> Times:
    """Return how times are written.

    Raises:
        InDoubt: it is not sure.
    """
    texts = [text.strip() for text in column.texts]
    if column.dates:
        texts = [f"{date.strip()} {text}" for date, text in zip(column.dates, texts, strict=True)]
        return _find_written(texts, column, "")
    kinds = Counter(map(_kind_of, texts))
    kind = kinds.most_common(1)[0][0] if kinds else "whole"
    if kind in ("whole", "number"):
        return _find_number(texts, kind, kinds["number"] > 0, column)
    if kind == "clock":
        if not column.day:
            raise InDoubt("has times without a day: add --date YYYY-MM-DD")
        return _find_written([f"{column.day} {text}" for text in texts], column, column.day)
    return _find_written(texts, column, "")


def _kind_of(text: str) -> str:
    if _WHOLE.fullmatch(text):
        # As the daily TAQ writes it: 093000123456789.
        return "whole"
    if _NUMBER.fullmatch(text):
        return "number"
    return "clock" if _CLOCK.fullmatch(text) else "text"


def _find_number(texts: Sequence[str], kind: str, decimals: bool, column: TimeColumn) -> Times:
    if column.day and kind == "whole" and all(len(text) >= 12 for text in texts):
        return _find_written([f"{column.day} {text}" for text in texts], column, column.day)
    values = [float(text) for text in texts if _kind_of(text) == kind]
    if values and max(values) < _SECONDS_OF_DAY and (decimals or column.day):
        if not column.day:
            raise InDoubt("has seconds of a day as times: add --date YYYY-MM-DD")
        if not column.zone:
            raise InDoubt("has times without a zone: add --zone, such as --zone UTC")
        return OfDay(column.day, column.zone)
    return Epoch() if decimals or column.is_known else Counted()


def _find_written(texts: Sequence[str], column: TimeColumn, day: str) -> Times:
    fits = Counter(order for text in texts for order in _orders(text))
    best = max(fits.values(), default=0)
    orders = [order for order, count in fits.items() if count == best]
    if column.order:
        orders = [order for order in orders if order == column.order]
    if len(orders) > 1 and all("." in text[:6] for text in texts):
        # With points, the day comes first.
        orders = ["dmy"]
    if not orders or best * 2 <= len(texts):
        shown = texts[0] if texts else ""
        raise InDoubt(f"has times that cannot be read, such as {shown!r:.60}")
    if len(orders) > 1:
        which = " or ".join(f"--dates {order}" for order in sorted(orders))
        raise InDoubt(f"has days such as {texts[0]!r:.60}: add {which}")
    order = orders[0]
    found = [match for text in texts if (match := PATTERNS[order].fullmatch(text))]
    if not any(match["H"] for match in found):
        raise InDoubt("has days without times: add --columns date=…,time=…")
    has_zone = sum(match["z"] is not None for match in found) * 2 > len(found)
    if not has_zone and not column.zone:
        raise InDoubt("has times without a zone: add --zone, such as --zone UTC")
    return Written(order, column.zone, has_zone, day)


def _orders(text: str) -> list[Order]:
    orders = []
    for order, pattern in PATTERNS.items():
        found = pattern.fullmatch(text)
        if found is None:
            continue
        try:
            datetime(int(found["y"]), int(found["m"]), int(found["d"]))
        except ValueError:
            continue
        orders.append(order)
    return orders
