"""Write a file of trades; read one once, or again and again."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

from marketdata.tradefiles import BadFile, read_trades
from marketdata.trades import COLUMNS, Row

_CHECKED_ROWS = 10_000


def read_passes(path: Path, *, loop: bool, limit: int | None = None) -> Iterator[Iterator[Row]]:
    """Return the trades of the file once, or with ``loop`` again and again while it has any.

    The first 10,000 rows are checked before any is returned, so that a bad file is reported before
    a server is connected to. Rows beyond ``limit`` are not checked.

    Raises:
        BadFile: the file cannot be opened, or a row among the first is wrong. The rows returned
            raise it too.
    """
    checked = _CHECKED_ROWS if limit is None else min(limit, _CHECKED_ROWS)
    while head := list(islice(rows := read_trades(path), checked)):
        yield chain(head, rows)
        if not loop:
            return


def write_trades(path: Path, rows: Iterable[Row]) -> None:
    """Write ``rows`` as CSV, compressed if the name ends in .gz; the same rows give the same bytes.

    Raises:
        BadFile: the file cannot be written.
    """
    lines = (f"{symbol},{price},{volume},{ts_ns}" for symbol, price, volume, ts_ns in rows)
    content = "\n".join((",".join(COLUMNS), *lines, "")).encode()
    if path.suffix == ".gz":
        # No time stamp: the same rows give the same file.
        content = gzip.compress(content, compresslevel=6, mtime=0)
    try:
        path.write_bytes(content)
    except OSError as exc:
        raise BadFile(f"{path}: {exc.strerror}") from exc
