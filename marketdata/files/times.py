"""Read the times of a file as nanoseconds since the Unix epoch.

Each way to write a time has a fast form for a whole column and a plain one for a single text. The
fast form refuses whatever it does not know, and then the plain form decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from marketdata.numbers import check_digits, parse_int
from marketdata.timestamps import NS_PER_S, nanoseconds_in
from marketdata.validation import MAX_VOLUME_DECIMALS

_MAX_NS = 2**63 - 1
# All zones have changed their offset at such local times since 1972.
_QUARTER_NS = 900 * NS_PER_S

Order = Literal["ymd", "dmy", "mdy"]
_DATES: dict[Order, str] = {
    "ymd": r"(?P<y>\d{4})[-/.]?(?P<m>\d\d?)[-/.]?(?P<d>\d\d?)",
    "dmy": r"(?P<d>\d\d?)[-/.](?P<m>\d\d?)[-/.](?P<y>\d{4})",
    "mdy": r"(?P<m>\d\d?)[-/.](?P<d>\d\d?)[-/.](?P<y>\d{4})",
}
_TIME = r"(?P<H>\d\d?):?(?P<M>\d\d)(?::?(?P<S>\d\d)(?:[.,]?(?P<f>\d+))?)?"
_ZONE = r"(?: ?(?P<z>Z|UTC|GMT|[+-]\d\d(?::?\d\d)?))?"
PATTERNS = {
    order: re.compile(rf"{date}(?:[T _,]+{_TIME}{_ZONE})?", re.ASCII)
    for order, date in _DATES.items()
}
# How the fast form brings each order into that of ISO 8601.
_TO_ISO: dict[Order, tuple[str, str]] = {
    "ymd": (r"^(\d{4})[/.]?(\d\d)[/.]?(\d\d)[T ]", r"\1-\2-\3 "),
    "dmy": (r"^(\d\d)[-/.](\d\d)[-/.](\d{4})[T ]", r"\3-\2-\1 "),
    "mdy": (r"^(\d\d)[-/.](\d\d)[-/.](\d{4})[T ]", r"\3-\1-\2 "),
}
_COLONS = (r" (\d\d)(\d\d)(\d\d)\.?(\d{3,9})$", r" \1:\2:\3.\4")


class NotFast(Exception):
    """The fast form does not know some value of a column."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Whole numbers since 1970, as they are: the settings of a service say their unit."""

    def __str__(self) -> str:
        return "numeric times"

    def read(self, text: str) -> int:
        """Return one time; raise ``ValueError`` with the rest of a sentence."""
        try:
            time = parse_int(text)
        except ValueError:
            raise ValueError("is not a whole number") from None
        if time <= 0:
            raise ValueError("is not above 0")
        if time > _MAX_NS:
            raise ValueError(f"is above {_MAX_NS}")
        return time

    def read_all(self, texts: Any) -> NDArray[np.int64]:
        """Return the times of a column."""
        values, _ = split_decimals(texts)
        if pc.any(pc.match_substring(texts, ".")).as_py() or not values.all():
            raise NotFast
        return values


@dataclass(frozen=True, slots=True)
class Epoch:
    """Numbers since 1970, whose unit follows from their size."""

    def __str__(self) -> str:
        return "numeric times"

    def read(self, text: str) -> int:
        """Return one time; raise ``ValueError`` with the rest of a sentence."""
        try:
            check_digits(text)
            number = Decimal(text.strip())
            unit = nanoseconds_in(int(number), "auto")
        except (InvalidOperation, ValueError, OverflowError):
            raise ValueError("is not a time") from None
        if not unit:
            raise ValueError("is in no unit a time since 1973")
        # Below a nanosecond is nothing that an exchange knows.
        return _checked(int(number * unit))

    def read_all(self, texts: Any) -> NDArray[np.int64]:
        """Return the times of a column."""
        digits, decimals = split_decimals(texts)
        whole = digits // 10**decimals
        if not len(whole):
            return whole
        unit = nanoseconds_in(int(whole.min()), "auto")
        if unit != nanoseconds_in(int(whole.max()), "auto") or not unit:
            raise NotFast
        # What is left of the unit after the decimals.
        scale = unit // 10**decimals
        if (scale * 10**decimals != unit).any() or int(digits.max()) > _MAX_NS // int(scale.max()):
            raise NotFast
        return digits * scale


@dataclass(frozen=True, slots=True)
class OfDay:
    """Seconds since the midnight of a day."""

    day: str
    zone: str

    def __str__(self) -> str:
        return f"seconds of {self.day} in {self.zone}"

    def read(self, text: str) -> int:
        """Return one time; raise ``ValueError`` with the rest of a sentence."""
        try:
            check_digits(text)
            passed = int(Decimal(text.strip()) * NS_PER_S)
        except (InvalidOperation, ValueError, OverflowError):
            raise ValueError("is not a time of the day") from None
        if not 0 <= passed < 86_400 * NS_PER_S:
            raise ValueError("is not a time of the day")
        return to_utc(self._midnight() + passed, self.zone)

    def read_all(self, texts: Any) -> NDArray[np.int64]:
        """Return the times of a column."""
        digits, decimals = split_decimals(texts)
        if len(digits) and (decimals.max() > 9 or (digits // 10**decimals).max() >= 86_400):
            raise NotFast
        return all_to_utc(self._midnight() + digits * 10 ** (9 - decimals), self.zone)

    def _midnight(self) -> int:
        day = datetime.strptime(self.day, "%Y%m%d").replace(tzinfo=UTC)
        return int(day.timestamp()) * NS_PER_S


@dataclass(frozen=True, slots=True)
class Written:
    """Dates and times as people write them; ``day`` stands before each of them."""

    order: Order
    zone: str
    has_zone: bool
    day: str = ""

    def __str__(self) -> str:
        where = "with a zone" if self.has_zone else f"in {self.zone}"
        return f"times {where}" + (f" on {self.day}" if self.day else "")

    def read(self, text: str) -> int:
        """Return one time; raise ``ValueError`` with the rest of a sentence."""
        found = PATTERNS[self.order].fullmatch(self._whole(text.strip()))
        if found is None or found["H"] is None:
            raise ValueError("is not a time")
        parts = found.groupdict()
        try:
            y, m, d, hour, minute, second = (int(parts[name] or 0) for name in "ymdHMS")
            moment = datetime(y, m, d, hour, minute, second, tzinfo=UTC)
        except ValueError:
            raise ValueError("is not a time") from None
        ns = int(moment.timestamp()) * NS_PER_S + int(f"{parts['f'] or '':0<9.9}")
        if parts["z"]:
            return _checked(ns - _offset_ns(parts["z"]))
        if not self.zone:
            raise ValueError("has no zone")
        return _checked(to_utc(ns, self.zone))

    def read_all(self, texts: Any) -> NDArray[np.int64]:
        """Return the times of a column."""
        if self.day:
            texts = pc.binary_join_element_wise(f"{self.day} ", texts, "")
        kind = pa.timestamp("ns", "UTC") if self.has_zone else pa.timestamp("ns")
        try:
            times = pc.cast(texts, kind)
        except pa.ArrowInvalid:
            texts = pc.replace_substring_regex(texts, *_TO_ISO[self.order])
            texts = pc.replace_substring_regex(texts, *_COLONS)
            times = pc.cast(texts, kind)
        ns = pc.cast(times, pa.int64()).to_numpy(zero_copy_only=False)
        if self.has_zone:
            return np.asarray(ns, np.int64)
        if not self.zone or not pc.all(pc.match_substring(texts, ":")).as_py():
            # A date alone is not a time of a trade.
            raise NotFast
        return all_to_utc(np.asarray(ns, np.int64), self.zone)

    def _whole(self, text: str) -> str:
        return f"{self.day} {text}" if self.day else text


Times = Counted | Epoch | OfDay | Written


def split_decimals(texts: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return plain decimal numbers as integers and counts of decimals.

    Raises:
        NotFast: one of them has a sign, an exponent, more than 18 decimals or anything else.
        pyarrow.ArrowInvalid: one of them does not fit.
    """
    digits = pc.replace_substring(texts, ".", "", max_replacements=1)
    if not pc.all(pc.ascii_is_decimal(digits)).as_py():
        raise NotFast
    lengths = pc.binary_length(texts).to_numpy(zero_copy_only=False)
    points = pc.find_substring(texts, ".").to_numpy(zero_copy_only=False)
    decimals = np.where(points < 0, 0, lengths - points - 1).astype(np.int64)
    if len(decimals) and decimals.max() > MAX_VOLUME_DECIMALS:
        raise NotFast
    values = pc.cast(digits, pa.int64()).to_numpy(zero_copy_only=False)
    return values.astype(np.int64), decimals


def to_utc(local_ns: int, zone: str) -> int:
    """Return the time in UTC of a local one.

    Raises:
        ValueError: the clocks were changed then, so that it is twice or never.
    """
    offset = _zone_offset(local_ns, zone)
    if offset is None:
        raise ValueError(f"is twice or never on that day in {zone}")
    return local_ns - offset


def all_to_utc(local_ns: NDArray[np.int64], zone: str) -> NDArray[np.int64]:
    """Return local times in UTC.

    Raises:
        NotFast: one of them is twice or never.
    """
    quarters, index = np.unique(local_ns // _QUARTER_NS, return_inverse=True)
    offsets = [_zone_offset(int(quarter) * _QUARTER_NS, zone) for quarter in quarters]
    if None in offsets:
        raise NotFast
    return local_ns - np.array(offsets, np.int64)[index]


def _zone_offset(local_ns: int, zone: str) -> int | None:
    moment = datetime.fromtimestamp(local_ns // NS_PER_S, UTC).replace(tzinfo=ZoneInfo(zone))
    first, second = moment.utcoffset(), moment.replace(fold=1).utcoffset()
    if first is None or first != second:
        return None
    return round(first.total_seconds()) * NS_PER_S


def _offset_ns(zone: str) -> int:
    if zone[0] not in "+-":
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    seconds = int(digits[:2]) * 3600 + int(digits[2:]) * 60
    return (-seconds if zone[0] == "-" else seconds) * NS_PER_S


def _checked(ns: int) -> int:
    if abs(ns) > _MAX_NS:
        raise ValueError("is not a time before 2262")
    return ns
