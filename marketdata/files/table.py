"""Know how the cells of a text are separated."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence

from marketdata.files.layout import Table
from marketdata.files.options import InDoubt

SAMPLE_ROWS = 50
_NUMBER_START = re.compile(r"\s*[-+]?[.,]?\d")


def read_table(
    sample: bytes, *, is_whole: bool, delimiter: str = ""
) -> tuple[Table, list[list[str]]]:
    """Return how the cells of a text are separated, and its first rows.

    Args:
        sample: the first bytes.
        is_whole: whether these are all bytes.
        delimiter: the sign between two cells, if that is known.

    Raises:
        InDoubt: it is no text, or has no rows.
    """
    start = 3 if sample.startswith(b"\xef\xbb\xbf") else 0
    if sample[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InDoubt("is UTF-16; save it as UTF-8")
    if sample.startswith(b"DBN"):
        raise InDoubt("is DBN; write it as CSV first, as Databento's `dbn` does")
    if b"\0" in sample:
        raise InDoubt("is not a text")
    text = sample[start:]
    lines = [line.decode(errors="replace") for line in text.splitlines()]
    if not is_whole and len(lines) > 1:
        # The last one may be cut.
        lines.pop()
    blank = next((n for n, line in enumerate(lines) if line.strip()), len(lines))
    if blank == len(lines):
        raise InDoubt("is empty")
    kept = [line for line in lines[blank : blank + SAMPLE_ROWS + 1] if line.strip()]
    sign = delimiter or _find_delimiter(kept)
    quoted = b'"' in text
    rows = list(
        csv.reader(kept, delimiter=sign, quoting=csv.QUOTE_MINIMAL)
        if quoted
        else csv.reader(kept, delimiter=sign, quoting=csv.QUOTE_NONE)
    )
    has_header = not any(map(_NUMBER_START.match, rows[0]))
    names = tuple(name.strip() for name in rows[0]) if has_header else ()
    width = len(names) or Counter(map(len, rows)).most_common(1)[0][0]
    head_lines = blank + has_header
    head = text.splitlines(keepends=True)[:head_lines]
    table = Table(sign, quoted, start + sum(map(len, head)), head_lines, names, width, has_header)
    return table, rows[has_header:]


def _find_delimiter(lines: Sequence[str]) -> str:
    # The commonest number of cells must be that of most lines.
    for sign in ("|", ";", "\t", ","):
        counts = Counter(line.count(sign) for line in lines)
        cells, often = counts.most_common(1)[0]
        if cells and often * 2 >= len(lines):
            return sign
    return ","
