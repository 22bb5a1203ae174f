"""``make fields``: write the TypeScript types of aggregates and bars from the table of fields."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from gateway.encoding import AGGREGATE_COLUMNS, BAR_COLUMNS, describe
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


def main() -> int:
    """Return the exit code."""
    TARGET.write_text(write_types())
    return 0


def write_types() -> str:
    """Return the module that has the types."""
    return HEAD + "".join(
        [
            *write_interface(
                "Aggregate",
                "The state of one symbol in its session. Null: nothing is known.",
                AGGREGATE_COLUMNS,
            ),
            *write_interface(
                "Bar",
                "What was traded of one symbol with start <= exchange time < end.",
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


if __name__ == "__main__":
    sys.exit(main())
