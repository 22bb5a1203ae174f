"""Know a file of trades again by its content, whatever its name is."""

from __future__ import annotations

import gzip
import hashlib
import stat
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from marketdata.tradefiles import BadFile, TradeFile

_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of trades; two files with equal bytes, compressed or not, are the same one."""

    path: Path
    # SHA-256 of the bytes, as they are when decompressed.
    content: str


def identify(path: Path) -> SourceFile:
    """Read the whole file once, so that one that cannot be read is found before anything changes.

    Raises:
        BadFile: it cannot be read, or ends too early.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as raw:
            if not stat.S_ISREG(path.stat().st_mode):
                raise BadFile(f"{path}: is not a regular file, so it cannot be read twice")
            data: IO[bytes] | gzip.GzipFile = raw
            if path.suffix == ".gz":
                data = gzip.GzipFile(fileobj=raw)
            while part := data.read(_READ_BYTES):
                digest.update(part)
    except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
        # The reader of trades knows the row.
        for _ in TradeFile(path, lambda _bad: None).read():
            pass
        raise BadFile(f"{path}: {exc}") from exc
    except OSError as exc:
        raise BadFile(f"{path}: {exc.strerror or exc}") from exc
    return SourceFile(path, digest.hexdigest())
