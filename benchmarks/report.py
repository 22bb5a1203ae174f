"""Show results as a table of lines, each beside its limit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Line:
    """One measured value.

    The limit is what the machine would give if our code cost nothing. The message is the result of
    one gRPC message per tick, or per request. Both are of the same run and in the same unit.
    """

    # Names it within the results.
    key: str
    what: str
    value: float
    unit: str
    limit: float | None = None
    # The name of the limit.
    against: str = ""
    message: float | None = None
    # Other facts, such as the CPU of the load.
    note: str = ""
    # The name of the peer that was measured, if it was not our server.
    peer: str = ""

    @property
    def smaller_is_better(self) -> bool:
        """Whether it is a time or a size."""
        return self.unit in {"s", "ms", "us", "ns", "KB", "%"}

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into the JSON file."""
        return {name: value for name, value in asdict(self).items() if value not in (None, "")}

    def cells(self) -> list[str]:
        """Return the row of a table."""
        return [
            f"{self.peer}: {self.what}" if self.peer else self.what,
            f"{number(self.value)} {self.unit}",
            f"{number(self.limit)} ({self.against})" if self.limit is not None else "",
            self._times(self.limit, share=True),
            self._times(self.message),
            self.note,
        ]

    def _times(self, other: float | None, *, share: bool = False) -> str:
        if not other or not self.value:
            return ""
        if self.smaller_is_better:
            # A time is so many times the limit, and so many times shorter than the other way.
            return f"{self.value / other:.1f} x" if share else f"{other / self.value:.2g} x"
        ratio = self.value / other
        return f"{ratio:.1%}" if share else f"{ratio:.3g} x"


HEAD = ["what", "measured", "physical limit", "of it", "over gRPC, one by one", ""]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The results of one part."""

    lines: list[Line]
    # Everything, for the JSON file.
    details: dict[str, Any]
    # Why the part was left out, if it was.
    skipped: str = ""


def number(value: float) -> str:
    """Return a number as people read it: three digits count."""
    if value >= 100:
        rounded = round(value, 3 - len(str(int(value))))
        return f"{rounded:,.0f}"
    return f"{value:.3g}"


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Return ``rows``, the header first, as text; numbers are to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in (0, len(widths) - 1) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Return ``rows``, the header first, as Markdown."""
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])


def rows_of(lines: Iterable[Line]) -> list[list[str]]:
    """Return the rows of a table, the header first."""
    return [HEAD, *(line.cells() for line in lines)]
