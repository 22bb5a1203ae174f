"""Make the loop parts that write a message, from the contract's numbers and the table of fields.

Each field becomes a function that writes it and goes on with the next field. A kernel calls the
first one, and the compiler makes one function of all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from aggregator.wire.put import number_size, put_double, put_number, put_text
from marketdata.fields import Field, Kind
from marketdata.kernels import fused_part, inlined_part
from marketdata.words import store_byte, store_word

_VARINT, _FIXED64, _LENGTH = 0, 1, 2
_WIRE_TYPES = {FieldDescriptor.TYPE_DOUBLE: _FIXED64, FieldDescriptor.TYPE_STRING: _LENGTH}


class Text(NamedTuple):
    """The address of a text, of which at least 16 bytes can be read, and its length."""

    address: int
    length: int


class Rest(NamedTuple):
    """What a message has besides the numbers of its record."""

    symbol: Text
    interval: Text
    phase: Text
    vwap: float
    epoch: int


class Writer(NamedTuple):
    """How a message is written."""

    # Returns how many bytes it has.
    size: Callable[[Any, Rest], int]
    # Writes it at an address; returns the address after it.
    put: Callable[[int, Any, Rest], int]


def make_writer(
    message: Descriptor,
    fields: Sequence[Field],
    record: np.dtype[np.void],
) -> Writer:
    """Return how records are written as messages, byte for byte as the protobuf library does.

    A number that neither the records nor a Rest have is not written, nor is a price of -0.0.

    Args:
        message: the message.
        fields: its fields, as the table describes them.
        record: the type of the records.
    """
    by_number = {
        message.fields_by_name[each.on_wire].number: each for each in fields if each.on_wire
    }
    writer = Writer(_no_size, _no_put)
    # From the last to the first, so that each one knows what comes after it.
    for number, field in sorted(by_number.items(), reverse=True):
        wire_type = _WIRE_TYPES.get(message.fields_by_number[number].type, _VARINT)
        tag = _Tag(number << 3 | wire_type)
        get = _getter(field, record)
        if get is not None:
            writer = _with(field.kind, tag, get, writer)
    return writer


class _Tag:
    # Up to field 15 a tag has one byte, then two.
    def __init__(self, value: int) -> None:
        self.size = 1 if value < 0x80 else 2
        self.word = value if value < 0x80 else value & 0x7F | 0x80 | value >> 7 << 8


def _getter(field: Field, record: np.dtype[np.void]) -> Callable[[Any, Rest], Any] | None:
    name = field.name
    if name in (record["candle"].names or ()):

        @inlined_part
        def get_of_candle(record: Any, rest: Rest) -> Any:
            return record.candle[name]

        return get_of_candle
    if field.kind is not Kind.TEXT and name in (record.names or ()):

        @inlined_part
        def get(record: Any, rest: Rest) -> Any:
            return record[name]

        return get
    if name not in Rest._fields:
        return None
    index = Rest._fields.index(name)

    @inlined_part
    def get_other(record: Any, rest: Rest) -> Any:
        return rest[index]

    return get_other


@fused_part
def _no_size(_record: Any, _rest: Rest) -> int:
    return 0


@fused_part
def _no_put(at: int, _record: Any, _rest: Rest) -> int:
    return at


def _make_put_tag(tag: _Tag) -> Callable[[int], int]:
    word, size = tag.word, tag.size

    @inlined_part
    def put_tag(at: int) -> int:
        if size == 1:
            store_byte(at, word)
        else:
            store_word(at, word)
        return at + size

    return put_tag


def _with_real(tag: _Tag, get: Callable[[Any, Rest], float], others: Writer) -> Writer:
    put_tag, put_others, size_others, own_size = (
        _make_put_tag(tag),
        others.put,
        others.size,
        tag.size + 8,
    )

    @fused_part
    def put(at: int, record: Any, rest: Rest) -> int:
        value = get(record, rest)
        if value != 0.0:
            at = put_double(put_tag(at), value)
        return put_others(at, record, rest)

    @fused_part
    def size(record: Any, rest: Rest) -> int:
        return (own_size if get(record, rest) != 0.0 else 0) + size_others(record, rest)

    return Writer(size, put)


def _with_number(tag: _Tag, get: Callable[[Any, Rest], int], others: Writer) -> Writer:
    put_tag, put_others, size_others, tag_size = (
        _make_put_tag(tag),
        others.put,
        others.size,
        tag.size,
    )

    @fused_part
    def put(at: int, record: Any, rest: Rest) -> int:
        value = get(record, rest)
        if value != 0:
            at = put_number(put_tag(at), value)
        return put_others(at, record, rest)

    @fused_part
    def size(record: Any, rest: Rest) -> int:
        value = get(record, rest)
        own_size = tag_size + number_size(value) if value != 0 else 0
        return own_size + size_others(record, rest)

    return Writer(size, put)


def _with_text(tag: _Tag, get: Callable[[Any, Rest], Text], others: Writer) -> Writer:
    put_tag, put_others, size_others, tag_size = (
        _make_put_tag(tag),
        others.put,
        others.size,
        tag.size,
    )

    @fused_part
    def put(at: int, record: Any, rest: Rest) -> int:
        text = get(record, rest)
        if text.length > 0:
            at = put_text(put_tag(at), text.address, text.length)
        return put_others(at, record, rest)

    @fused_part
    def size(record: Any, rest: Rest) -> int:
        length = get(record, rest).length
        own_size = tag_size + 1 + length if length > 0 else 0
        return own_size + size_others(record, rest)

    return Writer(size, put)


def _with(kind: Kind, tag: _Tag, get: Callable[[Any, Rest], Any], others: Writer) -> Writer:
    if kind is Kind.TEXT:
        return _with_text(tag, get, others)
    if kind is Kind.REAL:
        return _with_real(tag, get, others)
    return _with_number(tag, get, others)
