"""Read trades from the lines of a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from math import inf, isfinite
from operator import itemgetter

from marketdata.errors import InvalidSymbol, MarketDataError
from marketdata.numbers import check_digits, parse_float, parse_int
from marketdata.symbols import normalize_symbol

# Symbol, price, volume and exchange time, as they are in the file. A plain tuple: one is made per
# trade, and a named one costs 0.3 µs more.
Row = tuple[str, float, int, int]

COLUMNS = ("symbol", "price", "volume", "exchange_timestamp")

_INT64_LIMIT = 2**63
_MAX_REMEMBERED_SYMBOLS = 200_000


class BadRow(MarketDataError):
    """A row of the file is not a trade; the header is row 1.

    ``kind`` is the word under which it is counted. ``symbol`` and ``timestamp`` are those of the
    row where it has them.
    """

    def __init__(
        self,
        row: int,
        reason: str,
        kind: str = "malformed",
        *,
        symbol: str = "",
        timestamp: str = "",
    ) -> None:
        super().__init__(f"row {row}: {reason}")
        self.symbol = symbol
        self.timestamp = timestamp
        self.row = row
        self.reason = reason
        self.kind = kind


class TradeReader:
    """Turn the lines of a CSV file into ticks, reading no further than asked.

    Columns may come in any order, and others may stand beside ours. Empty lines are skipped.

    Args:
        lines: the header first.
        skip: called with each row that is not a trade; None: such a row ends the reading.

    Raises:
        BadRow: the header misses one of our columns.
    """

    def __init__(self, lines: Iterable[str], skip: Callable[[BadRow], None] | None = None) -> None:
        self._skip = skip
        self._rows = csv.reader(lines, strict=True)
        header = self._read_header()
        self._pick = itemgetter(*(header.index(name) for name in COLUMNS))
        self._width = len(header)
        self._known_symbols: set[str] = set()

    @property
    def row(self) -> int:
        """The number of the row read last."""
        return self._rows.line_num

    def go_to(self, row: int) -> None:
        """Skip all rows up to and including ``row``."""
        while self.row < row:
            try:
                if next(self._rows, None) is None:
                    return
            except csv.Error:
                # It was skipped when it was read before.
                continue

    def __iter__(self) -> Iterator[Row]:
        """Return the ticks in file order.

        Raises:
            BadRow: the first row that is not a trade, unless it is skipped; every row before it was
                returned.
        """
        while True:
            try:
                yield from self._read()
            except BadRow as exc:
                if self._skip is None:
                    raise
                self._skip(exc)
            else:
                return

    def _read(self) -> Iterator[Row]:
        pick, width, known, limit = self._pick, self._width, self._known_symbols, _INT64_LIMIT
        try:
            for fields in self._rows:
                if len(fields) != width:
                    if not fields:
                        continue
                    raise BadRow(self.row, f"has {len(fields)} fields, the header has {width}")
                symbol, price_text, volume_text, ts_text = pick(fields)
                price, volume, ts_ns = float(price_text), int(volume_text), int(ts_text)
                # One look at all three costs less than three.
                check_digits(price_text + volume_text + ts_text)
                # One chained comparison is false for NaN too.
                if not (0.0 < price < inf and 0 < volume < limit and 0 < ts_ns < limit):
                    problem = _problem(price_text, volume_text, ts_text)
                    raise BadRow(self.row, *problem, symbol=symbol, timestamp=ts_text)
                if symbol not in known:
                    self._learn_symbol(symbol)
                yield symbol, price, volume, ts_ns
        except ValueError as exc:
            problem = _problem(price_text, volume_text, ts_text)
            raise BadRow(self.row, *problem, symbol=symbol, timestamp=ts_text) from exc
        except InvalidSymbol as exc:
            raise BadRow(self.row, str(exc), exc.reason) from exc
        except csv.Error as exc:
            raise BadRow(self.row, str(exc)) from exc

    def _read_header(self) -> list[str]:
        try:
            header = [name.strip().lower() for name in next(self._rows)]
        except StopIteration:
            raise BadRow(1, f"the file is empty, a header is needed: {','.join(COLUMNS)}") from None
        except csv.Error as exc:
            raise BadRow(1, str(exc)) from exc
        for name in COLUMNS:
            if header.count(name) != 1:
                problem = "missing" if name not in header else "there more than once"
                raise BadRow(
                    1, f"column {name} is {problem} in the header {','.join(header)!r:.100}"
                )
        return header

    def _learn_symbol(self, symbol: str) -> None:
        normalize_symbol(symbol)
        if len(self._known_symbols) >= _MAX_REMEMBERED_SYMBOLS:
            self._known_symbols.clear()
        self._known_symbols.add(symbol)


def _problem(price_text: str, volume_text: str, ts_text: str) -> tuple[str, str]:
    # The problem, and the word for it. Only called for a row that has one, so it may be slow.
    try:
        price = parse_float(price_text)
        if not 0.0 < price < inf:
            kind = "price_not_positive" if isfinite(price) else "price_not_finite"
            return f"price {price_text!r:.50} is not a finite number above 0", kind
    except ValueError:
        return f"price {price_text!r:.50} is not a number", "malformed"
    for name, text, kind in (
        ("volume", volume_text, "volume_not_positive"),
        ("exchange_timestamp", ts_text, "timestamp_not_positive"),
    ):
        try:
            number = parse_int(text)
            if not 0 < number < _INT64_LIMIT:
                problem = f"{name} {text!r:.50} is not between 1 and {_INT64_LIMIT - 1}"
                return problem, kind if number <= 0 else "malformed"
        except ValueError:
            return f"{name} {text!r:.50} is not a whole number", "malformed"
    return "cannot be read", "malformed"
