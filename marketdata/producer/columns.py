"""Columns of numpy, Arrow, polars or pandas, brought into the form that the encoder takes."""

from __future__ import annotations

from decimal import Decimal
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marketdata.producer.errors import InvalidTick
from marketdata.producer.values import (
    check_symbol,
    decimals_number,
    excludes_number,
    trade_id_bytes,
    volume_number,
)
from marketdata.timestamps import TimestampUnit, fixed_unit

# The names of the columns of a table; the first one that it has is taken.
TABLE_COLUMNS = {
    "symbol": ("symbol",),
    "price": ("price",),
    "volume": ("volume",),
    "timestamp": ("timestamp", "exchange_timestamp"),
}

# Those that it need not have.
_OTHER_COLUMNS = ("volume_decimals", "trade_id", "excludes")

_INT64_MAX = 2**63 - 1


class Additions(NamedTuple):
    """Columns that ticks need not have; decimals and excludes may be one number for all ticks."""

    volume_decimals: Any = None
    trade_ids: Any = None
    excludes: Any = None


_NO_ADDITIONS = Additions()


class Columns(NamedTuple):
    """Ticks as columns of one length."""

    # Each symbol once, and the place of each tick's symbol there.
    symbols: list[str]
    codes: NDArray[np.int64]
    prices: NDArray[np.float64]
    volumes: NDArray[np.int64]
    timestamps: NDArray[np.int64]
    # None: no tick has one.
    decimals: NDArray[np.int64] | None = None
    trade_ids: list[bytes] | None = None
    excludes: NDArray[np.int64] | None = None

    def between(self, start: int, stop: int) -> Columns:
        """Return some of the ticks."""
        part = slice(start, stop)
        return Columns(
            self.symbols,
            *(self.codes[part], self.prices[part], self.volumes[part], self.timestamps[part]),
            decimals=None if self.decimals is None else self.decimals[part],
            trade_ids=None if self.trade_ids is None else self.trade_ids[part],
            excludes=None if self.excludes is None else self.excludes[part],
        )


def table_columns(table: Any) -> tuple[Any, Any, Any, Any]:
    """Return the columns symbol, price, volume and timestamp of anything that has them by name.

    Raises:
        InvalidTick: it has no such column.
    """
    known = _names_of(table)
    found = []
    for argument, choices in TABLE_COLUMNS.items():
        name = next((each for each in choices if each in known), None)
        if name is None:
            problem = f"is not a column of the table, it has {sorted(map(str, known))}"
            raise InvalidTick(argument, problem)
        found.append(table[name])
    return found[0], found[1], found[2], found[3]


def table_additions(table: Any) -> Additions:
    """Return the columns volume_decimals, trade_id and excludes, as far as a table has them."""
    known = _names_of(table)
    return Additions(*(table[name] if name in known else None for name in _OTHER_COLUMNS))


def _names_of(table: Any) -> set[Any]:
    names = getattr(table, "column_names", None)
    if names is None:
        names = getattr(table, "columns", None)
    return set(table.keys() if names is None else names)


def read_columns(
    symbols: Any,
    prices: Any,
    volumes: Any,
    timestamps: Any,
    unit: TimestampUnit = "auto",
    *,
    additions: Additions = _NO_ADDITIONS,
) -> Columns:
    """Return columns of any kind as those that the encoder takes.

    Args:
        symbols: strings; or one string, the symbol of all ticks.
        prices: numbers.
        volumes: whole numbers, or decimals.
        timestamps: whole numbers in ``unit``, or times of numpy or Arrow.
        unit: of timestamps that are numbers; with ``auto`` they stay as they are.
        additions: the other columns.

    Raises:
        InvalidTick: a column has another length, type or range, or has nulls.
    """
    prices = _floats(_array("prices", prices))
    volumes, decimals = _volumes(volumes, additions.volume_decimals, len(prices))
    times = _times(_array("timestamps", timestamps), unit)
    if isinstance(symbols, str):
        names, codes = _code_symbols([symbols])
        codes = np.zeros(len(prices), np.int64)
    else:
        names, codes = _symbols(symbols)
    excludes = _smalls("excludes", additions.excludes, len(prices))
    ids = _trade_ids(additions.trade_ids)
    lengths = {"symbols": codes, "volumes": volumes, "timestamps": times}
    lengths |= {"volume_decimals": decimals, "trade_ids": ids, "excludes": excludes}
    for name, column in lengths.items():
        if column is not None and len(column) != len(prices):
            raise InvalidTick(name, f"has {len(column)} values, prices has {len(prices)}")
    return Columns(names, codes, prices, volumes, times, decimals, ids, excludes)


def _volumes(
    column: Any, decimals: Any, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    array = _array("volumes", column)
    if array.dtype != object or not any(isinstance(each, Decimal) for each in array):
        return _integers("volumes", array), _smalls("volume_decimals", decimals, count)
    if decimals is not None:
        raise InvalidTick("volume_decimals", "is given, and volumes have decimals of their own")
    try:
        numbers = [volume_number(each) for each in array]
    except InvalidTick as exc:
        raise InvalidTick("volumes", exc.problem) from exc
    pairs = np.array(numbers, np.int64)
    return pairs[:, 0], pairs[:, 1]


def _smalls(name: str, column: Any, count: int) -> NDArray[np.int64] | None:
    # Decimals or excludes.
    if column is None:
        return None
    check = decimals_number if name == "volume_decimals" else excludes_number
    if isinstance(column, int):
        return np.full(count, check(column), np.int64)
    array = _integers(name, _array(name, column))
    for number in np.unique(array).tolist():
        check(number)
    return array


def _trade_ids(column: Any) -> list[bytes] | None:
    if column is None:
        return None
    # Lists not through numpy, whose strings end at a zero byte.
    values = column
    if not isinstance(column, list | tuple):
        array = _array("trade_ids", column)
        values = array.tolist()
        if array.dtype.kind in "iu":
            # No integer of numpy is too long, and a call for each takes three times as long.
            return [b"%d" % each for each in values]
    try:
        return [trade_id_bytes(each) for each in values]
    except InvalidTick as exc:
        raise InvalidTick("trade_ids", exc.problem) from exc


def _array(name: str, column: Any) -> NDArray[Any]:
    nulls = getattr(column, "null_count", 0)
    if nulls := nulls() if callable(nulls) else nulls:
        raise InvalidTick(name, f"has {nulls} nulls")
    if not isinstance(column, np.ndarray):
        if not hasattr(column, "to_numpy") and hasattr(column, "__arrow_c_array__"):
            # Some Arrow library without numpy. Only programs with Arrow arrays need pyarrow.
            column = import_module("pyarrow").array(column)
        if hasattr(column, "to_numpy"):
            # Arrow's own arrays copy only on request.
            copies = type(column).__module__.startswith("pyarrow")
            column = column.to_numpy(zero_copy_only=False) if copies else column.to_numpy()
        else:
            column = np.asarray(column)
    array: NDArray[Any] = column
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise InvalidTick(name, "has masked values")
    if array.ndim != 1:
        raise InvalidTick(name, f"must have one dimension, has {array.ndim}")
    return array


def _floats(array: NDArray[Any]) -> NDArray[np.float64]:
    if array.dtype.kind not in "fiu" and array.size:
        raise InvalidTick("prices", f"must be numbers, have the type {array.dtype}")
    return array.astype(np.float64, copy=False)


def _integers(name: str, array: NDArray[Any]) -> NDArray[np.int64]:
    if array.dtype.kind not in "iu" and array.size:
        raise InvalidTick(name, f"must be whole numbers, have the type {array.dtype}")
    if array.dtype == np.uint64 and array.size and int(array.max()) > _INT64_MAX:
        raise InvalidTick(name, f"has {array.max()}, limit is {_INT64_MAX}")
    return array.astype(np.int64, copy=False)


def _times(array: NDArray[Any], unit: TimestampUnit) -> NDArray[np.int64]:
    if array.dtype.kind == "M":
        if np.isnat(array).any():
            raise InvalidTick("timestamps", "has NaT")
        nanoseconds = array.astype("datetime64[ns]")
        if (nanoseconds.astype(array.dtype) != array).any():
            raise InvalidTick("timestamps", "has a time that does not fit nanoseconds in an int64")
        return nanoseconds.astype(np.int64)
    times = _integers("timestamps", array)
    unit_ns = fixed_unit(unit) or 1
    if unit_ns != 1 and times.size:
        latest = _INT64_MAX // unit_ns
        if int(times.max()) > latest or int(times.min()) < -latest:
            raise InvalidTick("timestamps", f"has a value beyond {latest} {unit}")
        times = times * unit_ns
    return times


def _symbols(column: Any) -> tuple[list[str], NDArray[np.int64]]:
    coded = _coded(column)
    if coded is not None:
        return coded
    if isinstance(column, list | tuple):
        # Not through numpy, whose strings end at a zero byte.
        return _code_symbols(list(column))
    return _code_symbols(_array("symbols", column).tolist())


def _coded(column: Any) -> tuple[list[str], NDArray[np.int64]] | None:
    # Arrow's dictionaries are coded already.
    if hasattr(column, "combine_chunks"):
        column = column.combine_chunks()
    if not (hasattr(column, "indices") and hasattr(column, "dictionary")):
        return None
    indices = _integers("symbols", _array("symbols", column.indices))
    names = column.dictionary.to_pylist()
    _check_symbols(names)
    return names, indices


def _code_symbols(values: list[Any]) -> tuple[list[str], NDArray[np.int64]]:
    try:
        known = {value: code for code, value in enumerate(dict.fromkeys(values))}
    except TypeError as exc:
        raise InvalidTick("symbols", "must be strings") from exc
    names = list(known)
    _check_symbols(names)
    codes = np.fromiter(map(known.__getitem__, values), np.int64, len(values))
    return names, codes


def _check_symbols(names: list[Any]) -> None:
    for name in names:
        check_symbol(name)
