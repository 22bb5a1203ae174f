"""Open trade files, plain or compressed, and read them piece by piece."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TextIO

from fakeclient.ticks import Row
from fakeclient.trades import BadRow, TradeReader
from marketdata.errors import MarketDataError

# A row takes about 40 characters. What has no line ends is no CSV, and must not fill the memory.
_MAX_LINE = 64 * 1024
_CHECKED_ROWS = 10_000


class BadFile(MarketDataError):
    """A file cannot be replayed; the message names the file, the row and the reason."""


def read_passes(path: Path, *, loop: bool, limit: int | None = None) -> Iterator[Iterator[Row]]:
    """Return the trades of the file once, or again and again; never of a file without trades.

    The first 10,000 rows are checked before any is returned, so that a file that is bad from the
    start is told before a server is asked for. ``limit`` is how many rows matter at all.

    Raises:
        BadFile: the file cannot be opened, or a row among the first is wrong. The rows returned
            raise it too.
    """
    checked = _CHECKED_ROWS if limit is None else min(limit, _CHECKED_ROWS)
    while head := list(islice(rows := read_trades(path), checked)):
        yield chain(head, rows)
        if not loop:
            return


def read_trades(path: Path) -> Iterator[Row]:
    """Return the trades of the file, holding one line of it at a time.

    Raises:
        BadFile: the file cannot be read, or a row is not a trade; every row before was returned.
    """
    reader = None
    try:
        with _open(path) as file:
            reader = TradeReader(iter(partial(file.readline, _MAX_LINE), ""))
            yield from reader
    except BadRow as exc:
        raise BadFile(f"{path}: {exc}") from exc
    except (OSError, EOFError, zlib.error) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else exc
        if reader is None:
            raise BadFile(f"{path}: {reason}") from exc
        raise BadFile(f"{path}: row {reader.row + 1}: {reason}") from exc


def _open(path: Path) -> TextIO:
    # Bytes that are not UTF-8 come through as surrogates, and fail as part of their own row.
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="")
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
