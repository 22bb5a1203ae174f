"""Know a file of trades again by its content, whatever its name is."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import NamedTemporaryFile

from marketdata.files.source import (
    READ_ERRORS,
    STDIN,
    BadFile,
    Part,
    find_parts,
    open_part,
    reason_of,
)

_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of trades; two files with equal bytes, compressed or not, are the same one."""

    part: Part
    # SHA-256 of the bytes, as they are when decompressed.
    content: str


def identify(part: Part) -> SourceFile:
    """Read the whole file once, so that one that cannot be read is found before anything changes.

    Raises:
        BadFile: it cannot be read, or ends too early.
    """
    digest = hashlib.sha256()
    # Or reading it again would give nothing.
    if part.path.exists() and not (part.path.is_file() or part.path.is_dir()):
        raise BadFile(f"{part}: is not a regular file, so it cannot be read twice")
    try:
        with ExitStack() as stack:
            data = open_part(part, stack).reader()
            while some := data.read(_READ_BYTES):
                digest.update(some)
    except READ_ERRORS as exc:
        raise BadFile(f"{part}: {reason_of(exc)}") from exc
    return SourceFile(part, digest.hexdigest())


def find_sources(paths: Iterable[Path], stack: ExitStack) -> list[Part]:
    """Return the files of trades at ``paths``; the standard input is copied, to be read twice.

    Raises:
        BadFile: a file cannot be read.
    """
    parts: list[Part] = []
    for path in paths:
        if path != STDIN:
            parts += find_parts([path])
            continue
        copy = stack.enter_context(NamedTemporaryFile(prefix="standard-input-"))  # noqa: SIM115
        shutil.copyfileobj(sys.stdin.buffer, copy, _READ_BYTES)
        copy.flush()
        shown = "standard input"
        parts += [
            replace(part, shown=f"{shown}/{part.member}" if part.member else shown)
            for part in find_parts([Path(copy.name)])
        ]
    return parts
