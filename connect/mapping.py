"""Find the fields of a trade in records that others shaped: JSON messages and rows of files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from connect.errors import BadTrade, SourceFailed
from connect.trades import Trade, make_id, read_price, read_size, read_time
from marketdata.errors import InvalidSymbol
from marketdata.symbols import normalize_symbol
from marketdata.timestamps import TimestampUnit

# The names that a field has if the user names none.
USUAL_NAMES: Mapping[str, tuple[str, ...]] = {
    "symbol": ("symbol",),
    "price": ("price",),
    "size": ("size", "volume", "quantity", "qty", "amount"),
    "time": ("time", "timestamp", "exchange_timestamp"),
    "id": ("trade_id", "id"),
}
_MISSING = object()


class Path(NamedTuple):
    """Where a field is: names and numbers of places, from the record or from the whole message."""

    steps: tuple[str, ...]
    from_root: bool = False
    # A column of a file may have a point in its name.
    name: str = ""

    def find(self, record: object, root: object) -> object:
        """Return the value, None if there is none."""
        value = root if self.from_root else record
        if self.name and isinstance(value, Mapping) and self.name in value:
            return value[self.name]
        for step in self.steps:
            value = _step(value, step)
            if value is _MISSING:
                return None
        return value


def _step(value: object, step: str) -> object:
    if isinstance(value, Mapping):
        return value.get(step, _MISSING)
    if isinstance(value, list) and step.isdecimal() and int(step) < len(value):
        return value[int(step)]
    return _MISSING


def parse_path(text: str) -> Path:
    """Return the path that is written ``data.0.price``, or ``/data.0`` from the whole message."""
    from_root = text.startswith("/")
    name = text.lstrip("/")
    return Path(tuple(step for step in name.split(".") if step), from_root, name)


class FieldMap:
    """Read trades out of records.

    Args:
        text: ``price=p,size=q,time=T``: our names and the paths of the record. What it does not
            name has its usual name.
        symbol: of all trades, if the record names none.
        each: the path to a list of records in a message, or to the only one.
        unit: of times that are numbers.
        symbol_prefix: put before symbols.
        id_prefix: put before the ids of trades.

    Raises:
        SourceFailed: ``text`` is not such a list.
    """

    def __init__(
        self,
        text: str = "",
        *,
        symbol: str = "",
        each: str = "",
        unit: TimestampUnit = "auto",
        symbol_prefix: str = "",
        id_prefix: str = "",
    ) -> None:
        self._paths = {
            field: tuple(Path((name,)) for name in names) for field, names in USUAL_NAMES.items()
        }
        for part in filter(None, text.split(",")):
            field, _, path = part.partition("=")
            if field.strip() not in USUAL_NAMES or not path.strip():
                known = ", ".join(USUAL_NAMES)
                raise SourceFailed(f"map {part!r:.60} must be FIELD=PATH, fields are {known}")
            self._paths[field.strip()] = (parse_path(path.strip()),)
        self._symbol = symbol
        self._each = parse_path(each)
        self._unit: TimestampUnit = unit
        self._symbol_prefix = symbol_prefix
        self._id_prefix = id_prefix

    def records(self, message: object) -> Iterator[object]:
        """Return the records of a message."""
        found = self._each.find(message, message)
        if isinstance(found, list) and (not found or isinstance(found[0], Mapping | list)):
            yield from found
        elif found is not None:
            yield found

    def read(self, record: object, root: object = None, default_id: str = "") -> Trade | None:
        """Return the trade that a record is; None: it has no price and no size, so it is no trade.

        Args:
            record: a mapping or a list.
            root: the whole message.
            default_id: identifies the trade if the record does not.

        Raises:
            BadTrade: a field is missing or not valid.
        """
        values = {field: self._find(field, record, root) for field in USUAL_NAMES}
        if values["price"] is None and values["size"] is None:
            return None
        symbol = values["symbol"] if values["symbol"] is not None else self._symbol
        if not symbol or not isinstance(symbol, str):
            raise BadTrade("symbol", "is missing, and --symbol names none")
        for field in ("price", "size", "time"):
            if values[field] is None:
                raise BadTrade(field, "is missing")
        volume, decimals = read_size(values["size"])
        identity = values["id"] if values["id"] is not None else default_id
        try:
            symbol = normalize_symbol(f"{self._symbol_prefix}{symbol.strip()}")
        except InvalidSymbol as exc:
            raise BadTrade("symbol", str(exc).removeprefix("symbol ")) from exc
        return Trade(
            symbol,
            read_price(values["price"]),
            volume,
            decimals,
            read_time(values["time"], self._unit),
            make_id(f"{self._id_prefix}{identity}") if identity != "" else b"",
        )

    def _find(self, field: str, record: object, root: object) -> object:
        for path in self._paths[field]:
            value = path.find(record, root)
            if value is not None:
                return value
        return None
