"""Turn the rows of one file, which come as text, into trades."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from marketdata.conditions import CTA, UTP, excludes
from marketdata.errors import InvalidSymbol
from marketdata.files.columns import as_texts, read_column
from marketdata.files.engine import Block
from marketdata.files.formats import Role
from marketdata.files.layout import Layout
from marketdata.files.trades import BadRow, Trade
from marketdata.sizes import TOO_LARGE, TOO_MANY_DECIMALS
from marketdata.symbols import normalize_symbol
from marketdata.validation import MAX_TRADE_ID
from marketdata.wire.market_data_pb2 import EXCLUDE_VOLUME

_MAX_REMEMBERED_SYMBOLS = 200_000
# The word under which a problem is counted, where it is not "malformed".
_KINDS = {
    "is not a finite number": "price_not_finite",
    "is in no unit a time since 1973": "timestamp_implausible",
    "is not above 0": "timestamp_not_positive",
    TOO_MANY_DECIMALS: "volume_decimals_too_large",
    TOO_LARGE: "volume_too_large",
}
# As the daily TAQ names the plans.
_PLANS = {"C": CTA, "N": UTP}

Skip = Callable[[BadRow], None]


class _Reader(Protocol):
    # Reads the values of one kind of column.

    def read(self, text: str) -> Any: ...

    def read_all(self, texts: Any) -> NDArray[Any]: ...


class _Problems:
    # The first problem of each bad row of a block, by its place.

    def __init__(self, block: Block, layout: Layout) -> None:
        self._block = block
        self._layout = layout
        self.found: dict[int, BadRow] = {}

    def add(self, place: int, reason: str, kind: str = "malformed") -> None:
        self.found.setdefault(place, BadRow(int(self._block.lines[place]), reason, kind))

    def note(self, place: int, role: Role, reason: str, value: str) -> None:
        name = self._layout.column_name(self._layout.columns[role])
        self.add(place, f"{name} {value!r:.50} {reason}", _KINDS.get(reason, "malformed"))


def _find_line_ends(block: Block, problems: _Problems) -> None:
    # Where a quote is missing, the next lines are taken for a part of a cell.
    for column in block.rows.columns:
        if pc.any(found := pc.match_substring(column, "\n")).as_py():
            for place in np.flatnonzero(found.to_numpy(zero_copy_only=False)):
                problems.add(int(place), "has a line end between two quotes")


class RowReader:
    """Turn the rows of one file into trades.

    Args:
        layout: how they are written.
        skip: called with each row that is not a trade, in order.
    """

    def __init__(self, layout: Layout, skip: Skip) -> None:
        self._layout = layout
        self._skip = skip
        self._symbols: dict[str, str | InvalidSymbol] = {}
        self._excludes: dict[str, int | str] = {}

    def read(self, blocks: Iterable[Block], after_row: int) -> Iterator[tuple[int, Trade]]:
        """Return the trades after a row, each with the number of its line."""
        for block in blocks:
            odd = [bad for bad in block.odd if bad.row > after_row]
            if len(block.lines) and block.lines[-1] > after_row:
                yield from self._read(self._keep(block._replace(odd=odd), after_row))
            else:
                for bad in odd:
                    self._skip(bad)

    def _keep(self, block: Block, after_row: int) -> Block:
        lines, rows, odd = block
        layout = self._layout
        kept = lines > after_row
        # Empty lines come as rows without any text.
        texts = [rows.column(str(n)) for n in layout.needed]
        price = rows.column(str(layout.columns["price"]))
        if (empty := (pc.binary_length(price).to_numpy(zero_copy_only=False) == 0)).any():
            for column in texts:
                empty &= pc.binary_length(column).to_numpy(zero_copy_only=False) == 0
            kept &= ~empty
        if layout.trades is not None:
            column, values = layout.trades
            kept &= pc.is_in(
                pc.ascii_trim_whitespace(rows.column(str(column))), pa.array(sorted(values))
            ).to_numpy(zero_copy_only=False)
        if kept.all():
            return block
        return Block(lines[kept], rows.filter(pa.array(kept)), odd)

    def _read(self, block: Block) -> Iterator[tuple[int, Trade]]:
        count = len(block.lines)
        layout = self._layout
        problems = _Problems(block, layout)
        if layout.table.quoted:
            _find_line_ends(block, problems)
        times = np.zeros(count, np.int64)
        prices = np.zeros(count)
        sizes = np.zeros((count, 2), np.int64)
        self._fill(problems, "time", self._times(block), layout.times, times)
        self._fill(problems, "price", self._texts(block, "price"), layout.prices, prices)
        if "size" in layout.columns:
            self._fill(problems, "size", self._texts(block, "size"), layout.sizes, sizes)
        symbols = self._read_symbols(block, problems)
        bits = self._read_excludes(block, problems)
        ids = self._read_ids(block, problems)
        rows = zip(
            symbols,
            prices.tolist(),
            sizes[:, 0].tolist(),
            times.tolist(),
            sizes[:, 1].tolist(),
            ids,
            bits,
            strict=True,
        )
        lines = block.lines.tolist()
        if not problems.found and not block.odd:
            yield from zip(lines, rows, strict=True)
            return
        odd = deque(block.odd)
        for place, (line, row) in enumerate(zip(lines, rows, strict=True)):
            while odd and odd[0].row < line:
                self._skip(odd.popleft())
            if (bad := problems.found.get(place)) is None:
                yield line, row
                continue
            bad.symbol, bad.time = row[0], row[3]
            self._skip(bad)
        for bad in odd:
            self._skip(bad)

    @staticmethod
    def _fill(problems: _Problems, role: Role, texts: Any, reader: _Reader, out: Any) -> None:
        for place, reason in read_column(texts, reader.read_all, reader.read, out).items():
            problems.note(place, role, reason, as_texts(texts.slice(place, 1))[0])

    def _texts(self, block: Block, role: Role) -> Any:
        return block.rows.column(str(self._layout.columns[role]))

    def _times(self, block: Block) -> Any:
        texts = self._texts(block, "time")
        if "date" not in self._layout.columns:
            return texts
        return pc.binary_join_element_wise(self._texts(block, "date"), texts, " ")

    def _read_symbols(self, block: Block, problems: _Problems) -> list[str]:
        if "symbol" not in self._layout.columns:
            return [self._layout.symbol] * len(block.lines)
        found = self._texts(block, "symbol").dictionary_encode()
        names = [self._check_symbol(text) for text in as_texts(found.dictionary)]
        places = found.indices.to_pylist()
        if any(isinstance(name, InvalidSymbol) for name in names):
            for place, index in enumerate(places):
                if isinstance(bad := names[index], InvalidSymbol):
                    problems.add(place, str(bad), bad.reason)
        texts = [name if isinstance(name, str) else "" for name in names]
        return [texts[index] for index in places]

    def _check_symbol(self, text: str) -> str | InvalidSymbol:
        known = self._symbols.get(text)
        if known is None:
            try:
                normalize_symbol(text)
                known = text
            except InvalidSymbol as exc:
                known = exc
            if len(self._symbols) >= _MAX_REMEMBERED_SYMBOLS:
                self._symbols.clear()
            self._symbols[text] = known
        return known

    def _read_excludes(self, block: Block, problems: _Problems) -> list[int]:
        count = len(block.lines)
        base = 0 if "size" in self._layout.columns else int(EXCLUDE_VOLUME)
        if "conditions" not in self._layout.columns:
            return [base] * count
        both = pc.binary_join_element_wise(
            self._texts(block, "tape"), self._texts(block, "conditions"), "\t"
        ).dictionary_encode()
        texts = as_texts(both.dictionary)
        found = [self._check_conditions(text) for text in texts]
        bits = []
        for place, index in enumerate(both.indices.to_pylist()):
            if isinstance(value := found[index], str):
                conditions = texts[index].partition("\t")[2]
                problems.note(place, "conditions", value, conditions)
                value = 0
            bits.append(base | value)
        return bits

    def _check_conditions(self, text: str) -> int | str:
        tape, _, conditions = text.partition("\t")
        if tape not in _PLANS:
            return f"is of the tape {tape!r}, which is not known"
        try:
            return excludes(conditions, _PLANS[tape], self._layout.conditions)
        except ValueError as exc:
            return str(exc)

    def _read_ids(self, block: Block, problems: _Problems) -> list[bytes]:
        layout = self._layout
        if not layout.id_columns:
            return [b""] * len(block.lines)
        parts = [
            pc.ascii_trim_whitespace(block.rows.column(str(n))).cast(pa.binary())
            for n in layout.id_columns
        ]
        whole = parts[-1]
        if len(parts) > 1:
            whole = pc.binary_join_element_wise(*parts, b":")
        prefix = layout.id_prefix.encode()
        lengths = pc.binary_length(parts[-1]).to_numpy(zero_copy_only=False)
        ids: list[bytes] = whole.to_pylist()
        ids = [
            prefix + value if length else b"" for value, length in zip(ids, lengths, strict=True)
        ]
        if len(prefix) + pc.max(pc.binary_length(whole)).as_py() > MAX_TRADE_ID:
            for place, value in enumerate(ids):
                if len(value) > MAX_TRADE_ID:
                    problem = f"its trade id has {len(value)} bytes, limit is {MAX_TRADE_ID}"
                    problems.add(place, problem)
        return ids
