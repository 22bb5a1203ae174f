"""``make fields``: write the types of aggregates and bars from the table of fields.

TypeScript has them for the client for browsers, Python for ``marketdata.client``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from textwrap import wrap

from gateway.encoding import AGGREGATE_COLUMNS, BAR_COLUMNS, describe
from marketdata.client.columns import attribute_of, is_read
from marketdata.fields import Kind, PublicColumn
from scripts.assets import GATEWAY

TARGET = GATEWAY / "dashboard" / "src" / "client" / "fields.ts"
HEAD = """\
// Written by `make fields` from marketdata/fields.py.

/** A 64-bit integer in decimal digits: JavaScript's numbers end at 2^53. */
export type Int64 = string;

/** An exact decimal: digits, which may have a point among them. */
export type Decimal = string;
"""
TYPES = {
    Kind.TEXT: "string",
    Kind.REAL: "number",
    Kind.COUNT: "Int64",
    Kind.SIZE: "Decimal",
    Kind.POSITION: "Int64",
    Kind.TIME: "Int64",
    Kind.NUMBER: "number",
    Kind.FLAG: "boolean",
}

PYTHON_TARGET = GATEWAY.parent / "marketdata" / "client" / "rows.py"
PYTHON_HEAD = """\
# Written by `make fields` from marketdata/fields.py.
\"\"\"What clients read: aggregates and bars.

A time is in nanoseconds since 1970 in UTC; the property without ``_ns`` is the same as a datetime,
cut to the microsecond.
\"\"\"

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from marketdata.client.times import to_datetime
"""
PYTHON_TYPES = {
    Kind.TEXT: "str",
    Kind.REAL: "float",
    Kind.COUNT: "int",
    Kind.SIZE: "Decimal",
    Kind.POSITION: "int",
    Kind.TIME: "int",
    Kind.NUMBER: "int",
    Kind.FLAG: "bool",
}
# An answer of REST has them beside the fields of the table.
PYTHON_STATUS = """\
    # X-Data-Status of the answer. "fallback": nothing is known; "last": the last known value, of
    # age_s seconds ago. None: it came in a live stream.
    data_status: Literal["live", "fallback", "last"] | None = None
    age_s: float | None = None
"""
AGGREGATE = "The state of one symbol in its session."
BAR = "What was traded of one symbol with start <= exchange time < end."


def main() -> int:
    """Return the exit code."""
    TARGET.write_text(write_types())
    PYTHON_TARGET.write_text(write_python())
    return 0


def write_types() -> str:
    """Return the module that has the types."""
    return HEAD + "".join(
        [
            *write_interface(
                "Aggregate",
                f"{AGGREGATE} Null: nothing is known.",
                AGGREGATE_COLUMNS,
            ),
            *write_interface(
                "Bar",
                BAR,
                BAR_COLUMNS,
            ),
        ]
    )


def write_interface(name: str, comment: str, columns: Sequence[PublicColumn]) -> Iterator[str]:
    """Yield the lines of one interface."""
    yield f"\n/** {comment} */\nexport interface {name} {{\n"
    for column in columns:
        field = column.field
        words = " | ".join(f"'{word}'" for _, word in field.choices)
        kind = (words or TYPES[field.kind]) + (" | null" if field.nullable else "")
        if description := describe(column):
            yield f"  /** {description} */\n"
        yield f"  readonly {column.name}: {kind};\n"
    yield "}\n"


def write_python() -> str:
    """Return the Python module that has the types."""
    none = f"{AGGREGATE} None: nothing is known."
    return PYTHON_HEAD + "".join(
        [
            *write_class("Aggregate", none, AGGREGATE_COLUMNS, PYTHON_STATUS),
            *write_class("Bar", BAR, BAR_COLUMNS),
        ]
    )


def write_class(
    name: str, comment: str, columns: Sequence[PublicColumn], more: str = ""
) -> Iterator[str]:
    """Yield the lines of one class; ``more`` follows its fields."""
    read = [column for column in columns if is_read(column)]
    yield f'\n\n@dataclass(frozen=True, slots=True)\nclass {name}:\n    """{comment}"""\n\n'
    for column in read:
        # Of a time, what the table says of it, not that it is in nanoseconds.
        for line in wrap(column.field.description, 94):
            yield f"    # {line}\n"
        yield f"    {attribute_of(column)}: {_python_type(column)}\n"
    yield more
    for column in read:
        if column.is_ns:
            yield _write_property(column)


def _python_type(column: PublicColumn) -> str:
    field = column.field
    words = ", ".join(f'"{word}"' for _, word in field.choices)
    kind = f"Literal[{words}]" if words else PYTHON_TYPES[field.kind]
    return kind + (" | None" if field.nullable else "")


def _write_property(column: PublicColumn) -> str:
    name, attribute = attribute_of(column).removesuffix("_ns"), attribute_of(column)
    description = column.field.description or name
    text = f"Return the {description.partition(';')[0]}."
    value, kind = f"to_datetime(self.{attribute})", "datetime"
    if column.field.nullable:
        value, kind = f"None if self.{attribute} is None else {value}", "datetime | None"
    return (
        f"\n    @property\n    def {name}(self) -> {kind}:\n"
        f'        """{text}"""\n        return {value}\n'
    )


if __name__ == "__main__":
    sys.exit(main())
