"""How a message is read and its JSON written, as tables of numbers that the loops follow.

They are made from the contract's field numbers and the table of fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from numpy.typing import NDArray

from marketdata.fields import Field, Kind, PublicColumn
from marketdata.wire.market_data_pb2 import COVERAGE_FULL

# A message has at most so many fields.
MAX_FIELDS = 32
# How a field is read: not at all, or as the message's type has it. A short one is uint32 or an
# enumeration, of which the protobuf library cuts off what has more bits.
UNKNOWN, DOUBLE, INTEGER, SHORT, STRING = range(5)
# How a column is written. QUOTED_MS: nanoseconds as milliseconds. COMPLETE: whether coverage is
# full and nothing was refused. SIZE: with as many decimals as another field says.
REAL, QUOTED, QUOTED_MS, NUMBER, TEXT, TEXT_OR_NULL, CHOICE, COMPLETE, SIZE = range(9)

_FULL = COVERAGE_FULL
_TYPES = {
    FieldDescriptor.TYPE_DOUBLE: DOUBLE,
    FieldDescriptor.TYPE_STRING: STRING,
    FieldDescriptor.TYPE_UINT32: SHORT,
    FieldDescriptor.TYPE_ENUM: SHORT,
    FieldDescriptor.TYPE_INT64: INTEGER,
    FieldDescriptor.TYPE_UINT64: INTEGER,
}
_KINDS = {
    Kind.REAL: REAL,
    Kind.COUNT: QUOTED,
    Kind.SIZE: SIZE,
    Kind.POSITION: QUOTED,
    Kind.NUMBER: NUMBER,
    Kind.TEXT: TEXT,
    Kind.CHOICE: CHOICE,
    Kind.FLAG: COMPLETE,
}
# What a value has at most, by how it is written: a number with sign, point and 17 digits, or 20
# digits with quotes, or a text of 64 characters with quotes.
_VALUE_BYTES = 66
# Texts that are written as they stand, filled up with zeros.
_TEXT_WORDS = 4
_TEXT_BYTES = 8 * _TEXT_WORDS
_TEXT_DTYPE = [("size", np.int64), *((f"word{n}", np.int64) for n in range(_TEXT_WORDS))]

COLUMN = np.dtype(
    [
        ("key", np.dtype(_TEXT_DTYPE)),
        ("kind", np.int64),
        # Of the field's place.
        ("offset", np.int64),
        # Of a SIZE, that of its decimals.
        ("decimals", np.int64),
        # Where in the words a CHOICE has its own, and how many; the last is for all other numbers.
        ("first_word", np.int64),
        ("words", np.int64),
    ]
)
# One word of a CHOICE. An empty text: Python says what is wrong with the number.
WORD = np.dtype([("number", np.int64), ("text", np.dtype(_TEXT_DTYPE))])


class Layout(NamedTuple):
    """The tables of one kind of message.

    Attributes:
        types: where each field is put and how it is read, by its number: 8 * place + type.
        columns: how the columns are written, in their order.
        words: the words of the columns with choices.
    """

    types: NDArray[np.int64]
    columns: NDArray[Any]
    words: NDArray[Any]


def make_layout(message: Descriptor, columns: Sequence[PublicColumn]) -> Layout:
    """Return the tables of a message."""
    if len(message.fields) > MAX_FIELDS:
        raise ValueError(f"{message.name} has more than {MAX_FIELDS} fields")
    types = np.zeros(max(message.fields_by_number) + 1, np.int64)
    for described in message.fields:
        types[described.number] = offset_of(message, described.name) + _TYPES[described.type]
    rows = np.zeros(len(columns), COLUMN)
    words: list[tuple[int, str]] = []
    for index, (row, column) in enumerate(zip(rows, columns, strict=True)):
        field = column.field
        name = "coverage" if field.name == "complete" else field.on_wire
        _put_text(row["key"], f'{"{" if index == 0 else ","}"{column.name}":')
        row["kind"] = _kind_of(column)
        row["offset"] = offset_of(message, name)
        if field.kind is Kind.SIZE:
            row["decimals"] = offset_of(message, "volume_decimals")
        row["first_word"] = len(words)
        words += _words_of(field)
        row["words"] = len(words) - row["first_word"]
    return Layout(types, rows, _make_words(words))


def offset_of(message: Descriptor, name: str) -> int:
    """Return how far from the first place that of a field is, in bytes."""
    return 8 * message.fields_by_name[name].index


def max_json_bytes(layout: Layout) -> int:
    """Return how much room the JSON of a message needs; whole blocks are written."""
    return int((layout.columns["key"]["size"] + _VALUE_BYTES).sum()) + _TEXT_BYTES


def _kind_of(column: PublicColumn) -> int:
    field = column.field
    if field.kind is Kind.TIME:
        return QUOTED if column.is_ns else QUOTED_MS
    if field.kind is Kind.FLAG and field.name != "complete":
        raise ValueError(f"the loop has no rule for {field.name}")
    if field.kind is Kind.TEXT and field.nullable:
        return TEXT_OR_NULL
    return _KINDS[field.kind]


def _words_of(field: Field) -> Iterator[tuple[int, str]]:
    if field.kind is Kind.FLAG:
        yield _FULL, "true"
        yield -1, "false"
    elif field.kind is Kind.CHOICE:
        yield from ((number, f'"{word}"') for number, word in field.choices)
        # A producer that does not report its coverage does not promise all of it.
        other = '"partial"' if field.name == "coverage" else "null" if field.nullable else ""
        yield -1, other


def _make_words(words: Sequence[tuple[int, str]]) -> NDArray[Any]:
    rows = np.zeros(len(words), WORD)
    for row, (number, text) in zip(rows, words, strict=True):
        row["number"] = number
        _put_text(row["text"], text)
    return rows


def _put_text(row: Any, text: str) -> None:
    data = text.encode()
    if len(data) > _TEXT_BYTES:
        raise ValueError(f"{text!r} has {len(data)} bytes, limit is {_TEXT_BYTES}")
    row["size"] = len(data)
    for index, word in enumerate(np.frombuffer(data.ljust(_TEXT_BYTES, b"\0"), np.int64)):
        row[f"word{index}"] = word
