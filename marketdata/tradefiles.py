"""Read trade files, plain or compressed, line by line."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO

from marketdata.errors import MarketDataError
from marketdata.trades import BadRow, Row, TradeReader

# A row has about 40 characters. A file without line ends must not fill the memory.
_MAX_LINE = 64 * 1024


class BadFile(MarketDataError):
    """A file cannot be read; the message names the file, the row and the reason."""


class TradeFile:
    """The trades of one file, holding one line of it at a time.

    Args:
        path: a ``.csv`` or ``.csv.gz``.
        skip: called with each row that is not a trade; None: such a row ends the reading.
    """

    def __init__(self, path: Path, skip: Callable[[BadRow], None] | None = None) -> None:
        self.path = path
        self._skip = skip
        self._raw: IO[bytes] | None = None
        self._reader: TradeReader | None = None

    @property
    def position(self) -> int:
        """How many bytes of the file were read, as they are on disk; to show the progress."""
        return 0 if self._raw is None or self._raw.closed else self._raw.tell()

    @property
    def row(self) -> int:
        """The number of the row read last, with the header as 1."""
        return 0 if self._reader is None else self._reader.row

    def read(self, after_row: int = 0) -> Iterator[Row]:
        """Return the trades after a row.

        Raises:
            BadFile: the file cannot be read, or a row is not a trade and may not be skipped; every
                row before was returned.
        """
        self._reader = None
        try:
            with ExitStack() as stack:
                lines = self._open(stack)
                self._reader = TradeReader(iter(partial(lines.readline, _MAX_LINE), ""), self._skip)
                self._reader.go_to(after_row)
                yield from self._reader
        except BadRow as exc:
            raise BadFile(f"{self.path}: {exc}") from exc
        except (OSError, EOFError, zlib.error) as exc:
            reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else exc
            if self._reader is None:
                raise BadFile(f"{self.path}: {reason}") from exc
            raise BadFile(f"{self.path}: row {self.row + 1}: {reason}") from exc

    def _open(self, stack: ExitStack) -> IO[str]:
        self._raw = stack.enter_context(self.path.open("rb"))
        data: IO[bytes] | gzip.GzipFile = self._raw
        if self.path.suffix == ".gz":
            data = stack.enter_context(gzip.GzipFile(fileobj=self._raw))
        # Bytes that are not UTF-8 come through as surrogates, and fail as part of their own row.
        return stack.enter_context(
            io.TextIOWrapper(data, encoding="utf-8-sig", errors="surrogateescape", newline="")
        )


def read_trades(path: Path) -> Iterator[Row]:
    """Return the trades of the file, holding one line of it at a time.

    Raises:
        BadFile: the file cannot be read, or a row is not a trade; every row before was returned.
    """
    return TradeFile(path).read()
