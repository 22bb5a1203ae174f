"""Recent updates as columns, for the saved state, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from aggregator.bars.published import Published, PublishedBars
from aggregator.watch.bar_queue import Completed
from aggregator.watch.updates import Changed, Closed, Partials, Update

# The numbers of the kinds are part of the saved state.
_CHANGED, _PARTIALS, _CLOSED, _COMPLETED = range(4)
# In place of the number of records: there are none.
_NEWEST = -1


class SavedUpdate(NamedTuple):
    """An update and the stream that alone was sent it; -1: all were."""

    position: int
    stream: int
    update: Update


def pack(updates: Iterable[SavedUpdate]) -> dict[str, Any]:
    """Return updates as a few long arrays: a checkpoint has one part for each."""
    heads: list[tuple[int, int, int, int, int]] = []
    numbers: list[int] = []
    records: list[bytes] = []
    for position, stream, update in updates:
        kind, own_numbers, own_records = _take_apart(update)
        count = _NEWEST if own_records is None else len(own_records)
        heads.append((position, stream, kind, len(own_numbers), count))
        numbers += own_numbers
        records += own_records or ()
    return {
        "heads": np.array(heads, np.int64).reshape(-1, 5),
        "numbers": np.array(numbers, np.int64),
        "lengths": np.array([len(record) for record in records], np.int64),
        "records": b"".join(records),
    }


def _take_apart(update: Update) -> tuple[int, list[int], list[bytes] | None]:
    match update:
        case Changed(rows, states):
            return _CHANGED, list(rows), states
        case Partials(series):
            return _PARTIALS, series.tolist(), []
        case Closed(bars):
            return _CLOSED, bars.places.ravel().tolist(), bars.wires()
        case Completed(interval, end):
            return _COMPLETED, [end], [interval.encode()]


def unpack(packed: dict[str, Any]) -> Iterator[SavedUpdate]:
    """Give the updates of :func:`pack`."""
    numbers, data = packed["numbers"].tolist(), packed["records"]
    lengths = packed["lengths"].tolist()
    at_number = at_record = at_byte = 0
    for position, stream, kind, n_numbers, n_records in packed["heads"].tolist():
        own = numbers[at_number : at_number + n_numbers]
        at_number += n_numbers
        records: list[bytes] = []
        for length in lengths[at_record : at_record + max(n_records, 0)]:
            records.append(data[at_byte : at_byte + length])
            at_byte += length
        at_record += len(records)
        states = None if n_records == _NEWEST else records
        yield SavedUpdate(position, stream, _put_together(kind, own, states))


def _put_together(kind: int, numbers: list[int], records: list[bytes] | None) -> Update:
    if kind == _CHANGED:
        return Changed(numbers, records)
    if kind == _PARTIALS:
        return Partials(np.array(numbers, np.int64))
    own = records or []
    if kind == _CLOSED:
        places = zip(*(numbers[part::4] for part in range(4)), own, strict=True)
        return Closed(PublishedBars.of(Published(*place) for place in places))
    return Completed(own[0].decode(), numbers[0])
