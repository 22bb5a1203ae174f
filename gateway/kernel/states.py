"""The loops that turn the wire bytes of aggregates and bars into JSON."""

from __future__ import annotations

from typing import Any

from gateway.encoding import AGGREGATE_COLUMNS, BAR_COLUMNS
from gateway.kernel.layout import make_layout, max_json_bytes, offset_of
from gateway.kernel.numbers import UNUSUAL
from gateway.kernel.reading import LENGTHS, read_fields, read_varint
from gateway.kernel.writing import put_json
from marketdata.kernels import KERNELS, kernel_part, types
from marketdata.wire.market_data_pb2 import FILLER_NONE, Aggregate, Bar
from marketdata.words import load_byte, load_word, store_word

_types: Any = types
_INT: Any = _types.int64

# The words of a record's note: where its message begins and ends, where its symbol does, its
# sequence and epoch, and where its JSON begins and ends. Without JSON, Python has to read it.
NOTE_WORDS = 8
NOTE_BYTES = 8 * NOTE_WORDS

_AGGREGATE = make_layout(Aggregate.DESCRIPTOR, AGGREGATE_COLUMNS)
_BAR = make_layout(Bar.DESCRIPTOR, BAR_COLUMNS)
MAX_JSON_BYTES = max(max_json_bytes(_AGGREGATE), max_json_bytes(_BAR))

# Constants of the loops.
_AGGREGATE_TYPES, _AGGREGATE_ROWS, _AGGREGATE_WORDS = _AGGREGATE
_BAR_TYPES, _BAR_ROWS, _BAR_WORDS = _BAR
_SYMBOL = offset_of(Aggregate.DESCRIPTOR, "symbol")
_SEQUENCE = offset_of(Aggregate.DESCRIPTOR, "sequence")
_EPOCH = offset_of(Aggregate.DESCRIPTOR, "epoch")
_REFUSED = offset_of(Aggregate.DESCRIPTOR, "refused")
_NO_FILLER = FILLER_NONE
_FILLER = offset_of(Bar.DESCRIPTOR, "filler")
_BAR_REFUSED = offset_of(Bar.DESCRIPTOR, "refused")


@kernel_part
def _write_aggregate(at: int, begin: int, end: int, places: int) -> int:
    if not read_fields(begin, end, _AGGREGATE_TYPES, places):
        return UNUSUAL
    return put_json(at, _AGGREGATE_ROWS, _AGGREGATE_WORDS, places, places + _REFUSED)


@kernel_part
def _write_bar(at: int, begin: int, end: int, places: int) -> int:
    # A filler has other rules.
    if not read_fields(begin, end, _BAR_TYPES, places) or load_word(places + _FILLER) != _NO_FILLER:
        return UNUSUAL
    return put_json(at, _BAR_ROWS, _BAR_WORDS, places, places + _BAR_REFUSED)


@kernel_part
def _take_note(note: int, begin: int, start: int, stop: int, places: int) -> None:
    store_word(note, start - begin)
    store_word(note + 8, stop - begin)
    symbol = load_word(places + _SYMBOL) - begin
    store_word(note + 16, symbol)
    store_word(note + 24, symbol + load_word(places + _SYMBOL + LENGTHS))
    store_word(note + 32, load_word(places + _SEQUENCE))
    store_word(note + 40, load_word(places + _EPOCH))


@kernel_part
def _next_record(at: int, end: int, tag: int) -> tuple[int, int]:
    # The addresses where the next message begins and ends; the begin is 0: there is none.
    if at >= end or load_byte(at) != tag:
        return 0, 0
    size, at = read_varint(at + 1, end)
    if size < 0 or size > end - at:
        return 0, 0
    return at, at + size


@KERNELS.add(_types.UniTuple(_INT, 2)(_INT, _INT, _INT, _INT, _INT, _INT))
def aggregates_to_json(
    begin: int, position: int, end: int, limit: int, out: int, notes: int
) -> tuple[int, int]:
    """Write the JSON of aggregates, one after the other, up to another field of their message.

    Args:
        begin: the address of the first byte of the message that has them as its field 1.
        position: the address of the first record, its tag.
        end: the address after the last byte; 16 bytes more can be read.
        limit: at most so many records.
        out: the address of room for the JSON, MAX_JSON_BYTES for each record.
        notes: the address of NOTE_BYTES for each record, and then of PLACES_BYTES more.

    Returns:
        How many records there were, and the address after them.
    """
    places = notes + limit * NOTE_BYTES
    count, at = 0, out
    while count < limit:
        start, stop = _next_record(position, end, 1 << 3 | 2)
        if start == 0:
            break
        note = notes + count * NOTE_BYTES
        written = _write_aggregate(at, start, stop, places)
        _take_note(note, begin, start, stop, places)
        store_word(note + 48, at - out)
        if written != UNUSUAL:
            at = written
        store_word(note + 56, at - out)
        position = stop
        count += 1
    return count, position


@KERNELS.add(_INT(_INT, _INT, _INT, _INT))
def aggregate_to_json(begin: int, end: int, out: int, note: int) -> int:
    """Write the JSON of one aggregate; return how many bytes it has, 0: Python has to do it.

    ``note`` is the address of NOTE_BYTES and then PLACES_BYTES more.
    """
    written = _write_aggregate(out, begin, end, note + NOTE_BYTES)
    _take_note(note, begin, begin, end, note + NOTE_BYTES)
    return max(written - out, 0)


@KERNELS.add(_INT(_INT, _INT, _INT, _INT))
def bar_to_json(begin: int, end: int, out: int, places: int) -> int:
    """Write the JSON of one bar; return how many bytes it has, 0: Python has to do it."""
    return max(_write_bar(out, begin, end, places) - out, 0)
