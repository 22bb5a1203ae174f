"""Know how a file of trades is written by its first rows; what is in doubt is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from marketdata.files.columns import Prices, Sizes
from marketdata.files.formats import FORMATS, KINDS, SYNONYMS, Format, Role
from marketdata.files.layout import Layout, Table
from marketdata.files.options import NO_COLUMN, FileOptions, InDoubt
from marketdata.files.timing import TimeColumn, find_times

# Without a header, so many of the first rows must look like the format.
_SURE = 0.9
_OURS = ("symbol", "price", "volume", "exchange_timestamp")
_NAMED_ZONE = re.compile(r"(?:(?P<before>gmt|utc|eet) time|time \((?P<behind>\w+)\))")


def understand(
    table: Table, rows: Sequence[Sequence[str]], stem: str, options: FileOptions
) -> Layout:
    """Return how a file is written.

    Args:
        table: its columns.
        rows: the first ones.
        stem: the name of the file, without what says how it is compressed.
        options: what the operator says.

    Raises:
        InDoubt: it is not sure; the message says what to add.
    """
    rows = [row for row in rows if len(row) == table.width]
    names = _clean_names(table.names)
    found = _Finder(table, names.names, rows, stem, options).find()
    columns = {role: column for role, column in found.columns.items() if column >= 0}
    trades = _find_trades(found.format, names.names)
    if trades is not None:
        rows = [row for row in rows if row[trades[0]].strip() in trades[1]]
    for role in ("price", "time"):
        if role not in columns:
            raise InDoubt(f"has no column of the {role} that is known: {_ask(role, table, rows)}")
    if "size" not in found.columns and found.format.name == "generic":
        raise InDoubt(f"has no column of the size that is known: {_ask('size', table, rows)}")
    symbol = _find_symbol(found.format, columns, stem, options)
    day = options.day or _from_name(found.format.day_in_name, stem, "day").replace("-", "")
    zone = options.zone or names.zone or found.format.zone
    times = find_times(
        TimeColumn(
            [row[columns["time"]] for row in rows],
            [row[columns["date"]] for row in rows] if "date" in columns else [],
            day,
            zone,
            options.order,
            is_known=found.format.name != "generic",
        )
    )
    comma = _has_decimal_comma(table, columns, rows, options)
    layout = Layout(
        table,
        "",
        columns,
        symbol,
        Prices(found.format.price_decimals, comma=comma),
        Sizes(comma=comma),
        times,
        trades,
        _find_id(found.format, names.names, columns),
        # Ids are unique within a day only, if the name of the file has the day.
        f"{day}:" if found.format.id_parts and day else found.format.id_prefix,
        options.conditions,
        found.format.footer,
    )
    return replace(layout, title=_title(found, layout))


@dataclass(frozen=True, slots=True)
class _Names:
    names: tuple[str, ...]
    # That a name of a column tells.
    zone: str = ""


def _clean_names(names: Sequence[str]) -> _Names:
    clean, zone = [], ""
    for name in names:
        lower = name.strip().lower()
        if (found := _NAMED_ZONE.fullmatch(lower)) is not None:
            zone = (found["before"] or found["behind"]).upper()
            lower = "time"
        clean.append(lower)
    return _Names(tuple(clean), {"GMT": "UTC"}.get(zone, zone))


@dataclass(frozen=True, slots=True)
class Found:
    """The format of a file, and its columns; -1 is one that is not there."""

    format: Format
    columns: Mapping[Role, int]


class _Finder:
    def __init__(
        self,
        table: Table,
        names: tuple[str, ...],
        rows: Sequence[Sequence[str]],
        stem: str,
        options: FileOptions,
    ) -> None:
        self._table = table
        self._names = names
        self._rows = rows
        self._stem = stem
        self._options = options

    def find(self) -> Found:
        given = self._given_columns()
        if self._options.format == "generic" or {"price", "time"} <= given.keys():
            named = self._by_synonyms(given) if self._table.has_header else given
            return Found(_generic(), named)
        chosen = self._options.format
        candidates = [each for each in FORMATS if chosen in ("", each.name)]
        found = self._by_header(candidates) if self._names else self._by_rows(candidates)
        if found is not None:
            names = self._names or tuple(found.names)
            places = {
                role: names.index(name) for role, name in found.columns.items() if name in names
            }
            return Found(found, {**places, **given})
        if chosen:
            raise InDoubt(
                f"is not a file of --format {chosen}: its first line is {self._first_line()!r:.120}"
            )
        if not self._names:
            raise InDoubt(
                "has no header, and its rows are of no known format: "
                + _ask("price=N,size=N,time", self._table, self._rows)
            )
        return Found(_generic(), self._by_synonyms(given))

    def _given_columns(self) -> dict[Role, int]:
        found: dict[Role, int] = {}
        for role, place in self._options.columns.items():
            found[role] = self._place(place)  # type: ignore[index]
        return found

    def _place(self, place: str) -> int:
        if place == NO_COLUMN:
            return -1
        if place.isdecimal():
            if not 0 < int(place) <= self._table.width:
                raise InDoubt(f"has {self._table.width} columns, so none has the number {place}")
            return int(place) - 1
        if self._names.count(place.lower()) != 1:
            raise InDoubt(f"has no single column with the name {place!r}")
        return self._names.index(place.lower())

    def _by_header(self, candidates: Sequence[Format]) -> Format | None:
        fits = [
            each
            for each in candidates
            if (not each.needs_name or self._options.format)
            and all(self._names.count(name) == 1 for name in each.names)
            and all(name in self._names or name in each.optional for name in each.columns.values())
        ]
        return max(fits, key=lambda each: len(each.names), default=None)

    def _by_rows(self, candidates: Sequence[Format]) -> Format | None:
        fits = [each for each in candidates if each.kinds and self._looks_like(each)]
        if self._options.format:
            return fits[0] if fits else None
        by_name = [
            each
            for each in fits
            if not each.needs_name or re.match(each.symbol_in_name, self._stem)
        ]
        if len(by_name) == 1:
            return by_name[0]
        if fits:
            which = " or ".join(f"--format {name}" for name in dict.fromkeys(f.name for f in fits))
            raise InDoubt(f"has no header, and its rows fit: add {which}")
        return None

    def _looks_like(self, each: Format) -> bool:
        if self._table.width != len(each.kinds) or not self._rows:
            return False
        alike = sum(
            all(
                KINDS[kind].fullmatch(cell.strip())
                for kind, cell in zip(each.kinds, row, strict=True)
            )
            for row in self._rows
        )
        return alike >= len(self._rows) * (0.5 if self._options.format else _SURE)

    def _by_synonyms(self, given: Mapping[Role, int]) -> dict[Role, int]:
        if all(self._names.count(name) == 1 for name in _OURS) and not given:
            ours = dict(
                zip(("symbol", "price", "size", "time"), map(self._names.index, _OURS), strict=True)
            )
            if "trade_id" in self._names:
                ours["id"] = self._names.index("trade_id")
            return ours  # type: ignore[return-value]
        found: dict[Role, int] = dict(given)
        for role, synonyms in SYNONYMS.items():
            if role in found:
                continue
            places = [n for n, name in enumerate(self._names) if name in synonyms]
            if len(places) > 1:
                several = " and ".join(self._table.names[n] for n in places)
                raise InDoubt(
                    f"has the columns {several}, and each may be the {role}: "
                    f"add --columns {role}=NAME"
                )
            if places:
                found[role] = places[0]
        if "time" not in found and "date" in found:
            found["time"] = found.pop("date")
        elif "date" in found and self._is_full_time(found["time"]):
            del found["date"]
        return found

    def _is_full_time(self, column: int) -> bool:
        cells = [row[column].strip() for row in self._rows]
        return bool(cells) and all(re.match(r"\d{4}-|\d{9}", cell) for cell in cells)

    def _first_line(self) -> str:
        cells = self._table.names or (self._rows[0] if self._rows else ())
        return self._table.delimiter.join(cells)


def _generic() -> Format:
    return Format("generic", "trades", (), {})


def _find_symbol(
    found: Format, columns: Mapping[Role, int], stem: str, options: FileOptions
) -> str:
    if "symbol" in columns:
        if options.symbol:
            raise InDoubt("has a column of symbols, so leave --symbol out")
        return ""
    if options.symbol:
        return options.symbol
    symbol = _from_name(found.symbol_in_name, stem, "symbol").upper()
    if not symbol:
        raise InDoubt("does not say which symbol was traded: add --symbol NAME")
    return f"BTC{symbol}" if found.name == "bitstamp" else symbol


def _from_name(pattern: str, stem: str, group: str) -> str:
    found = re.search(pattern, stem) if pattern else None
    return found[group] if found else ""


def _has_decimal_comma(
    table: Table, columns: Mapping[Role, int], rows: Sequence[Sequence[str]], options: FileOptions
) -> bool:
    if options.decimal or table.delimiter == ",":
        return options.decimal == ","
    cells = [
        row[columns[role]].strip() for row in rows for role in ("price", "size") if role in columns
    ]
    with_comma = [cell for cell in cells if re.fullmatch(r"-?\d+,\d+", cell)]
    if not with_comma or any("." in cell for cell in cells):
        return False
    if all(re.fullmatch(r"-?\d{1,3},\d{3}", cell) for cell in with_comma):
        raise InDoubt(
            f"has numbers like {with_comma[0]}: add --decimal , if the comma stands before the "
            "decimals; one between thousands cannot be read"
        )
    return True


def _find_trades(found: Format, names: Sequence[str]) -> tuple[int, frozenset[str]] | None:
    if found.trades is None:
        return None
    column, values = found.trades
    return (names or found.names).index(column), values


def _find_id(found: Format, names: Sequence[str], columns: Mapping[Role, int]) -> tuple[int, ...]:
    if found.id_parts:
        return tuple((names or found.names).index(name) for name in found.id_parts)
    return (columns["id"],) if "id" in columns else ()


def _ask(role: str, table: Table, rows: Sequence[Sequence[str]]) -> str:
    if table.has_header:
        return f"add --columns {role}=NAME; the names are: {' '.join(table.names)}"
    shown = " ".join(f"{n}={cell}" for n, cell in enumerate(rows[0], 1)) if rows else ""
    return f"add --columns {role}=N; the first row is: {shown:.200}"


def _title(found: Found, layout: Layout) -> str:
    table = layout.table
    columns = (
        f"{role}={table.names[place] if table.has_header else place + 1}"
        for role, place in layout.columns.items()
    )
    said = [
        found.format.title + (f" ({found.format.note})" if found.format.note else ""),
        " ".join(columns),
        str(layout.times),
    ]
    if not table.has_header:
        said[1] = f"no header: {said[1]}"
    if layout.symbol:
        said.append(f"symbol {layout.symbol}")
    return ", ".join(said)
