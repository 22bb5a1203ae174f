"""Read the rows of a file with pyarrow, block by block, and turn them into trades.

pyarrow was chosen by a measurement (docs/files.md): as fast as the others with a third of their
memory, it reads from any stream, and it tells the number of each line that has too few or too many
cells.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from marketdata.conditions import CTA, UTP, excludes
from marketdata.errors import InvalidSymbol
from marketdata.files.columns import as_texts, read_column
from marketdata.files.layout import Layout
from marketdata.files.trades import BadRow, Trade
from marketdata.sizes import TOO_LARGE, TOO_MANY_DECIMALS
from marketdata.symbols import normalize_symbol
from marketdata.wire.market_data_pb2 import EXCLUDE_VOLUME

# The memory for one file is a few times this.
BLOCK_BYTES = 1 << 20
BLOCK_ROWS = 16_384
MAX_ID_BYTES = 64
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
ENGINE_ERRORS = (pa.ArrowException,)


class Block(NamedTuple):
    """Rows that follow each other, as text, and the numbers of their lines."""

    lines: NDArray[np.int64]
    rows: Any
    # The lines before, between and after them that have too few or too many cells.
    odd: Sequence[BadRow] = ()


Skip = Callable[[BadRow], None]


def read_text(data: io.BufferedReader, layout: Layout) -> Iterator[Block]:
    """Return the rows of a text, after its header.

    Args:
        data: the bytes after the header.
        layout: how they are written.
    """
    table = layout.table
    if not data.peek(1):
        return
    odd: deque[tuple[int, BadRow | None]] = deque()

    def take_odd(row: Any) -> str:
        number = row.number + table.head_lines
        is_footer = layout.footer and row.text.startswith(layout.footer)
        problem = f"has {row.actual_columns} fields, should have {row.expected_columns}"
        odd.append((number, None if is_footer else BadRow(number, problem)))
        return "skip"

    names = [str(n) for n in range(table.width)]
    reader = pa_csv.open_csv(
        data,
        read_options=pa_csv.ReadOptions(
            use_threads=False, block_size=BLOCK_BYTES, column_names=names
        ),
        parse_options=pa_csv.ParseOptions(
            delimiter=table.delimiter,
            quote_char='"' if table.quoted else False,
            ignore_empty_lines=False,
            invalid_row_handler=take_odd,
        ),
        convert_options=pa_csv.ConvertOptions(
            check_utf8=False,
            column_types=dict.fromkeys(names, pa.string()),
            strings_can_be_null=False,
            include_columns=[str(n) for n in layout.needed],
        ),
    )
    line = table.head_lines + 1
    for batch in reader:
        lines = np.arange(line, line + batch.num_rows)
        found = []
        end = line + batch.num_rows
        # pyarrow may have told of lines that are further down.
        while odd and odd[0][0] <= end:
            number, bad = odd.popleft()
            lines[lines >= number] += 1
            end += 1
            found.append(bad)
        line = end
        yield Block(lines, batch, [bad for bad in found if bad is not None])
    yield Block(np.empty(0, np.int64), None, [bad for _, bad in odd if bad is not None])


def read_parquet(file: Path | IO[bytes], layout: Layout) -> Iterator[Block]:
    """Return the rows of a Parquet file as text."""
    opened = pq.ParquetFile(file)
    names = opened.schema_arrow.names
    needed = layout.needed
    row = 1
    for batch in opened.iter_batches(BLOCK_ROWS, columns=[names[n] for n in needed]):
        texts = {str(n): to_text(batch.column(names[n])) for n in needed}
        yield Block(np.arange(row, row + batch.num_rows), pa.RecordBatch.from_pydict(texts))
        row += batch.num_rows


def sample_parquet(file: Path | IO[bytes], count: int) -> tuple[list[str], list[list[str]]]:
    """Return the names of the columns of a Parquet file, and its first rows as text."""
    opened = pq.ParquetFile(file)
    batch = next(opened.iter_batches(count), None)
    if batch is None:
        return list(opened.schema_arrow.names), []
    columns = [as_texts(to_text(column)) for column in batch.columns]
    return list(batch.schema.names), [list(row) for row in zip(*columns, strict=True)]


def to_text(column: Any) -> Any:
    """Return a column of any type as text: numbers with all of their digits."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        column = column.cast(pa.binary())
    return pc.fill_null(column.cast(pa.string()), "")


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
            if len(block.lines) and block.lines[-1] <= after_row:
                continue
            odd = [bad for bad in block.odd if bad.row > after_row]
            if not len(block.lines):
                for bad in odd:
                    self._skip(bad)
                continue
            yield from self._read(self._keep(block._replace(odd=odd), after_row))

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
        problems: dict[int, BadRow] = {}
        times = np.zeros(count, np.int64)
        prices = np.zeros(count)
        sizes = np.zeros((count, 2), np.int64)
        self._fill(block, "time", self._times(block), layout.times, times, problems)
        self._fill(block, "price", self._texts(block, "price"), layout.prices, prices, problems)
        if "size" in layout.columns:
            self._fill(block, "size", self._texts(block, "size"), layout.sizes, sizes, problems)
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
        if not problems and not block.odd:
            yield from zip(lines, rows, strict=True)
            return
        odd = deque(block.odd)
        for place, (line, row) in enumerate(zip(lines, rows, strict=True)):
            while odd and odd[0].row < line:
                self._skip(odd.popleft())
            if (bad := problems.get(place)) is None:
                yield line, row
                continue
            bad.symbol, bad.time = row[0], row[3]
            self._skip(bad)
        for bad in odd:
            self._skip(bad)

    def _fill(
        self,
        block: Block,
        role: Any,
        texts: Any,
        reader: Any,
        out: Any,
        problems: dict[int, BadRow],
    ) -> None:
        for place, reason in read_column(texts, reader.read_all, reader.read, out).items():
            self._note(problems, block, place, role, reason, as_texts(texts.slice(place, 1))[0])

    def _note(
        self,
        problems: dict[int, BadRow],
        block: Block,
        place: int,
        role: Any,
        reason: str,
        value: str,
    ) -> None:
        name = self._layout.column_name(self._layout.columns[role])
        line = int(block.lines[place])
        kind = _KINDS.get(reason, "malformed")
        problems.setdefault(place, BadRow(line, f"{name} {value!r:.50} {reason}", kind))

    def _texts(self, block: Block, role: Any) -> Any:
        return block.rows.column(str(self._layout.columns[role]))

    def _times(self, block: Block) -> Any:
        texts = self._texts(block, "time")
        if "date" not in self._layout.columns:
            return texts
        return pc.binary_join_element_wise(self._texts(block, "date"), texts, " ")

    def _read_symbols(self, block: Block, problems: dict[int, BadRow]) -> list[str]:
        if "symbol" not in self._layout.columns:
            return [self._layout.symbol] * len(block.lines)
        found = self._texts(block, "symbol").dictionary_encode()
        names = [self._check_symbol(text) for text in as_texts(found.dictionary)]
        places = found.indices.to_pylist()
        if any(isinstance(name, InvalidSymbol) for name in names):
            for place, index in enumerate(places):
                if isinstance(bad := names[index], InvalidSymbol):
                    line = int(block.lines[place])
                    problems.setdefault(place, BadRow(line, str(bad), bad.reason))
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
            if len(self._symbols) >= 200_000:
                self._symbols.clear()
            self._symbols[text] = known
        return known

    def _read_excludes(self, block: Block, problems: dict[int, BadRow]) -> list[int]:
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
                self._note(problems, block, place, "conditions", value, conditions)
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

    def _read_ids(self, block: Block, problems: dict[int, BadRow]) -> list[bytes]:
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
        if len(prefix) + pc.max(pc.binary_length(whole)).as_py() > MAX_ID_BYTES:
            for place, value in enumerate(ids):
                if len(value) > MAX_ID_BYTES:
                    problem = f"its trade id has {len(value)} bytes, limit is {MAX_ID_BYTES}"
                    problems.setdefault(place, BadRow(int(block.lines[place]), problem))
        return ids
