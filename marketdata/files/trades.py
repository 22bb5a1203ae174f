"""The trades of one file, in the order of the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

from marketdata.errors import MarketDataError
from marketdata.files.options import FileOptions, InDoubt
from marketdata.files.source import (
    READ_ERRORS,
    SAMPLE_BYTES,
    BadFile,
    Opened,
    Part,
    open_part,
    reason_of,
)

if TYPE_CHECKING:
    from marketdata.files.layout import Layout

# Symbol, price, volume, exchange time, volume decimals, trade id, excludes. A plain tuple: one is
# made per trade, and a named one costs 0.3 µs more.
Trade = tuple[str, float, int, int, int, bytes, int]

_NEEDS_PYARROW = "reading files of trades needs pyarrow: pip install 'market-data-server[files]'"
_PARQUET = b"PAR1"


class BadRow(MarketDataError):
    """A row of a file is not a trade; the first line of the file is row 1.

    ``kind`` is the word under which it is counted. ``symbol`` and ``time`` are those of the row
    where it has them, the time as in a trade; else they are empty and 0.
    """

    def __init__(self, row: int, reason: str, kind: str = "malformed") -> None:
        super().__init__(f"row {row}: {reason}")
        self.row = row
        self.reason = reason
        self.kind = kind
        self.symbol = ""
        self.time = 0


class TradeFile:
    """Read one file of trades, holding one block of it at a time.

    Args:
        part: the file.
        options: what the operator says of it.
        skip: called with each row that is not a trade.
        understood: called with how the file is written, before the first trade.
    """

    def __init__(
        self,
        part: Part,
        options: FileOptions,
        skip: Callable[[BadRow], None],
        understood: Callable[[Layout], None] = lambda _layout: None,
    ) -> None:
        self.part = part
        self._options = options
        self._skip = skip
        self._understood = understood
        self._position: Callable[[], int] = lambda: 0
        self.row = 0
        # Whether the times are in nanoseconds, and not as the file has them.
        self.in_ns = False

    @property
    def position(self) -> int:
        """How many bytes of the file were read, as they are on disk; to show the progress."""
        try:
            return self._position()
        except ValueError:
            # It is closed.
            return 0

    def read(self, after_row: int = 0) -> Iterator[Trade]:
        """Return the trades after a row.

        Raises:
            BadFile: the file cannot be read, or it is not sure how it is written.
        """
        try:
            from marketdata.files import engine, rows  # noqa: PLC0415  0.2 s and 50 MB, of an extra
        except ImportError as exc:
            raise BadFile(f"{self.part}: {_NEEDS_PYARROW}") from exc
        self.row = after_row
        errors = (*READ_ERRORS, *engine.ENGINE_ERRORS)
        try:
            with ExitStack() as stack:
                opened = open_part(self.part, stack)
                self._position = opened.position
                is_parquet = opened.sample.startswith(_PARQUET)
                layout = (self._sniff_parquet if is_parquet else self._sniff_text)(opened)
                self._understood(layout)
                self.in_ns = layout.in_ns
                if is_parquet:
                    blocks = engine.read_parquet(self.part.path, layout)
                else:
                    data = opened.reader(layout.table.head_bytes)
                    blocks = engine.read_text(data, layout)
                for line, trade in rows.RowReader(layout, self._skip).read(blocks, after_row):
                    self.row = line
                    yield trade
        except InDoubt as exc:
            raise BadFile(f"{self.part}: {exc}") from exc
        except errors as exc:
            where = f"row {self.row + 1} or later: " if self.row else ""
            raise BadFile(f"{self.part}: {where}{reason_of(exc)}") from exc

    def _sniff_text(self, opened: Opened) -> Layout:
        from marketdata.files.sniff import understand  # noqa: PLC0415
        from marketdata.files.table import read_table  # noqa: PLC0415

        is_whole = len(opened.sample) < SAMPLE_BYTES
        table, rows = read_table(
            opened.sample, is_whole=is_whole, delimiter=self._options.delimiter
        )
        return understand(table, rows, self.part.stem, self._options)

    def _sniff_parquet(self, _opened: Opened) -> Layout:
        from marketdata.files.engine import sample_parquet  # noqa: PLC0415
        from marketdata.files.layout import Table  # noqa: PLC0415
        from marketdata.files.sniff import understand  # noqa: PLC0415
        from marketdata.files.table import SAMPLE_ROWS  # noqa: PLC0415

        if self.part.member or not self.part.path.is_file():
            raise InDoubt("is Parquet, which is read from a file of its own")
        names, rows = sample_parquet(self.part.path, SAMPLE_ROWS)
        table = Table("", False, 0, 0, tuple(names), len(names), True)
        return understand(table, rows, self.part.stem, self._options)
