"""Call the loops, with the room that they read from and write to."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gateway.encoding import aggregate_to_dict, bar_to_dict, encode_json
from gateway.kernel.reading import PLACES_BYTES
from gateway.kernel.states import (
    MAX_JSON_BYTES,
    NOTE_BYTES,
    NOTE_WORDS,
    aggregate_to_json,
    aggregates_to_json,
    bar_to_json,
)
from marketdata.wire.market_data_pb2 import Aggregate, Bar

# Records that the loop takes in one call; their JSON comes to some 240 KB.
MAX_RECORDS = 400
# What the loops read beyond a message.
_PADDING = 16
_MIN_DATA = 64 * 1024
_unpack_note = struct.Struct(f"{NOTE_WORDS}q").unpack_from

# Writes JSON of the bytes from one address to another.
_OneLoop = Callable[[int, int, int, int], int]


class EncodedState(NamedTuple):
    """One aggregate: its message, some of its fields, and its JSON."""

    data: bytes
    symbol: bytes
    sequence: int
    epoch: int
    json: bytes


# Without the call of a function in Python.
_new_state = tuple.__new__


class StateEncoder:
    """Turn serialized aggregates and bars into JSON; one per thread.

    What the loops leave to Python is read by the protobuf library, and raises its errors.
    """

    def __init__(self) -> None:
        self._out_room = np.zeros(MAX_RECORDS * MAX_JSON_BYTES + 64, np.uint8)
        self._note_room = np.zeros(MAX_RECORDS * NOTE_BYTES + PLACES_BYTES + 64, np.uint8)
        self._out, self._notes = self._out_room.data, self._note_room.data
        self._out_at, self._notes_at = self._out_room.ctypes.data, self._note_room.ctypes.data
        self._make_room(_MIN_DATA)

    def encode_aggregates(
        self, data: bytes, position: int = 0, limit: int = MAX_RECORDS
    ) -> tuple[list[EncodedState], int]:
        """Return aggregates that are field 1 of a message, and where they end.

        Args:
            data: an ``UpdateBatch`` or ``AggregatesResponse``.
            position: where the first of them begins.
            limit: at most so many of them; the others follow with the next call.

        Returns:
            Those up to another field or the limit, and the position after them.

        Raises:
            DecodeError: one is malformed.
        """
        size = len(data)
        begin = self._take_in(data)
        count, end = aggregates_to_json(
            begin,
            begin + position,
            begin + size,
            min(limit, MAX_RECORDS),
            self._out_at,
            self._notes_at,
        )
        out, states = self._out, []
        for note in range(0, count * NOTE_BYTES, NOTE_BYTES):
            start, stop, name, name_end, sequence, epoch, json, json_end = _unpack_note(
                self._notes, note
            )
            message = data[start:stop]
            if json == json_end:
                states.append(encode_in_python(message))
            else:
                text = out[json:json_end].tobytes()
                states.append(
                    _new_state(EncodedState, (message, data[name:name_end], sequence, epoch, text))
                )
        return states, end - begin

    def encode_aggregate(self, data: bytes) -> EncodedState:
        """Return a serialized ``Aggregate`` with its JSON.

        Raises:
            DecodeError: it is malformed.
        """
        # As :meth:`_encode`, without calls: alone, each is found with cold caches.
        size = len(data)
        if size > self._max_data:
            self._make_room(2 * size)
        self._data[:size] = data
        begin = self._data_at
        written = aggregate_to_json(begin, begin + size, self._out_at, self._notes_at)
        if not written:
            return encode_in_python(data)
        _, _, name, name_end, sequence, epoch, _, _ = _unpack_note(self._notes)
        json = self._out[:written].tobytes()
        return _new_state(EncodedState, (data, data[name:name_end], sequence, epoch, json))

    def aggregate_json(self, data: bytes) -> bytes:
        """Return the JSON of a serialized ``Aggregate``.

        Raises:
            DecodeError: it is malformed.
        """
        json = self._encode(aggregate_to_json, data)
        return json or encode_json(aggregate_to_dict(Aggregate.FromString(data)))

    def bar_json(self, data: bytes) -> bytes:
        """Return the JSON of a serialized ``Bar``.

        Raises:
            DecodeError: it is malformed.
        """
        return self._encode(bar_to_json, data) or encode_json(bar_to_dict(Bar.FromString(data)))

    def _encode(self, loop: _OneLoop, data: bytes) -> bytes:
        begin = self._take_in(data)
        size = loop(begin, begin + len(data), self._out_at, self._notes_at)
        return self._out[:size].tobytes()

    def _take_in(self, data: bytes) -> int:
        # Returns the address of a copy: Python has no way to tell that of the bytes themselves.
        size = len(data)
        if size > self._max_data:
            self._make_room(2 * size)
        self._data[:size] = data
        return self._data_at

    def _make_room(self, size: int) -> None:
        self._max_data = size
        self._data_room = np.zeros(size + _PADDING, np.uint8)
        self._data, self._data_at = self._data_room.data, self._data_room.ctypes.data


def encode_in_python(data: bytes) -> EncodedState:
    """Return a state that the loop leaves to Python.

    Raises:
        DecodeError: it is malformed.
    """
    aggregate = Aggregate.FromString(data)
    json = encode_json(aggregate_to_dict(aggregate))
    symbol = aggregate.symbol.encode()
    return EncodedState(data, symbol, aggregate.sequence, aggregate.epoch, json)
