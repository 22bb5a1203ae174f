"""Write a file of trades; read some once, or again and again."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path

from fakeclient.ticks import Row
from marketdata.files.options import FileOptions
from marketdata.files.ordering import in_time_order
from marketdata.files.source import BadFile, Part
from marketdata.files.trades import BadRow, Trade, TradeFile

COLUMNS = ("symbol", "price", "volume", "exchange_timestamp")
# Rows that are not trades, named with their reason; the others are counted.
MAX_NAMED = 5


@dataclass(slots=True)
class Replayed:
    """The files of a replay.

    Args:
        parts: the files.
        options: how they are read.
        say: shows a line.
        complain: shows what is wrong.
    """

    parts: Sequence[Part]
    options: FileOptions
    say: Callable[[str], None]
    complain: Callable[[str], None]
    # Rows that are not trades.
    left_out: int = 0

    def passes(self, *, loop: bool) -> Iterator[Iterator[Trade]]:
        """Return the trades of the files once, or with ``loop`` again and again.

        Raises:
            BadFile: a file cannot be read. The rows returned raise it too.
        """
        told: set[int] = set()
        files = [partial(self._read, part, number, told) for number, part in enumerate(self.parts)]
        # Read before anything is sent, so that a wrong file is reported at once.
        while head := list(islice(rows := in_time_order(files), 1)):
            yield chain(head, rows)
            if not loop:
                return

    def _read(self, part: Part, number: int, told: set[int], is_peek: bool) -> Iterator[Trade]:
        if is_peek:
            return TradeFile(part, self.options, lambda _bad: None).read()
        is_new = number not in told
        told.add(number)
        named = 0

        def skip(bad: BadRow) -> None:
            nonlocal named
            named += 1
            self.left_out += 1
            if is_new and named <= MAX_NAMED:
                self.complain(f"{part}: {bad}")

        def understood(title: str) -> None:
            if is_new:
                self.say(f"{part.name}: {title}")

        return TradeFile(part, self.options, skip, lambda layout: understood(layout.title)).read()


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
