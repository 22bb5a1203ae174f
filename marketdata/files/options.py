"""What an operator says of files of trades, where the files do not say it themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from marketdata.conditions import ConditionRule
from marketdata.errors import InvalidSymbol, MarketDataError
from marketdata.files.formats import NAMES
from marketdata.symbols import normalize_symbol

# The columns that --columns can name.
NAMED = ("symbol", "price", "size", "time", "date", "id")
NO_COLUMN = "none"
_DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "pipe": "|"}
ORDERS = ("ymd", "dmy", "mdy")


class BadOption(MarketDataError):
    """An option has a value that cannot be used; ``name`` is that of the option."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} {reason}")
        self.name = name
        self.reason = reason


class InDoubt(MarketDataError):
    """The first rows can be read in several ways, or in none; the message says what to add."""


@dataclass(frozen=True, slots=True)
class FileOptions:
    """How files are read; what is empty follows from their first rows."""

    format: str = ""
    # The name or the number, from 1 on, of the column that has a value.
    columns: Mapping[str, str] = field(default_factory=dict)
    symbol: str = ""
    delimiter: str = ""
    # What stands before the decimals.
    decimal: str = ""
    # Of times that have none.
    zone: str = ""
    # Of times of the day, as 20250103.
    day: str = ""
    order: str = ""
    conditions: ConditionRule = ConditionRule.TAPE

    def __str__(self) -> str:
        """All that is said, as one text that is the same for the same options."""
        names = (name for name in self.__slots__ if getattr(self, name) != getattr(_NONE, name))
        return " ".join(f"{name}={getattr(self, name)}" for name in names)


_NONE = FileOptions()


def parse_options(
    *,
    file_format: str | None = None,
    columns: str | None = None,
    symbol: str | None = None,
    delimiter: str | None = None,
    decimal: str | None = None,
    zone: str | None = None,
    date: str | None = None,
    dates: str | None = None,
    conditions: str | None = None,
) -> FileOptions:
    """Return the options that an operator gives as text.

    Raises:
        BadOption: one of them cannot be used.
    """
    rules = [rule.value for rule in ConditionRule]
    sign = _DELIMITERS.get(delimiter or "", delimiter or "")
    if len(sign) > 1:
        raise BadOption("--delimiter", f"{delimiter!r} is not one character")
    return FileOptions(
        _one_of("--format", file_format, NAMES),
        _parse_columns(columns or ""),
        _parse_symbol(symbol or ""),
        sign,
        _one_of("--decimal", {"comma": ",", "point": "."}.get(decimal or "", decimal), (",", ".")),
        _parse_zone(zone or ""),
        _parse_day(date or ""),
        _one_of("--dates", dates, ORDERS),
        ConditionRule(_one_of("--conditions", conditions, rules) or ConditionRule.TAPE),
    )


def _one_of(name: str, value: str | None, allowed: tuple[str, ...] | list[str]) -> str:
    if value is not None and value not in allowed:
        raise BadOption(name, f"{value!r} is not one of: {' '.join(allowed)}")
    return value or ""


def _parse_columns(text: str) -> dict[str, str]:
    columns: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        role, found, place = (word.strip() for word in part.partition("="))
        if role not in NAMED or not found or not place or role in columns:
            raise BadOption(
                "--columns", f"{part!r} is not like price=2; the columns are: {' '.join(NAMED)}"
            )
        columns[role] = place
    return columns


def _parse_symbol(text: str) -> str:
    try:
        return normalize_symbol(text) if text else ""
    except InvalidSymbol as exc:
        raise BadOption("--symbol", str(exc)) from exc


def _parse_zone(text: str) -> str:
    try:
        return ZoneInfo(text).key if text else ""
    except (ValueError, OSError, KeyError):
        raise BadOption("--zone", f"{text!r} is not a time zone like America/New_York") from None


def _parse_day(text: str) -> str:
    digits = text.replace("-", "")
    if text and not (len(digits) == 8 and digits.isdecimal() and digits.isascii()):
        raise BadOption("--date", f"{text!r} is not a day like 2025-01-03")
    return digits
