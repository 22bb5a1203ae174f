"""Read the rows of a file as text with pyarrow, block by block.

pyarrow was chosen by a measurement (docs/files.md): it costs no more than the others, reads from
any stream, and tells the number of each line that has too few or too many cells.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from marketdata.files.columns import as_texts
from marketdata.files.layout import Layout
from marketdata.files.trades import BadRow

# The memory for one file is a few times this.
BLOCK_BYTES = 1 << 20
BLOCK_ROWS = 16_384
ENGINE_ERRORS = (pa.ArrowException,)


class Block(NamedTuple):
    """Rows that follow each other, as text, and the numbers of their lines."""

    lines: NDArray[np.int64]
    rows: Any
    # The lines before, between and after them that have too few or too many cells.
    odd: Sequence[BadRow] = ()


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
            # With quotes, a row is checked as a whole.
            include_columns=names if table.quoted else [str(n) for n in layout.needed],
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
