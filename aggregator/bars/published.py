"""States of bars that were published together, as columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from sys import byteorder
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray


class Published(NamedTuple):
    """An early, final or revised state of a bar.

    A series is the bars of one symbol and interval, as a number: the symbol's row x how many
    intervals there are + the interval's number.
    """

    series: int
    start: int
    # Tells tick, volume and notional bars of the same start apart.
    number: int
    # -1 unless the bar is closed.
    revision: int
    # Tag, length and message, as one of the ``bars`` of an ``UpdateBatch``.
    wire: bytes


# Series, start, number and revision, as four int64. Unlike a tuple it is made at once, and the
# garbage collector does not look at it.
Key = bytes
_KEY_BYTES = 4 * 8


def series_of(key: Key) -> int:
    """Return the series of a key."""
    return int.from_bytes(key[:8], byteorder, signed=True)


def _keys_of(places: NDArray[np.int64]) -> list[Key]:
    data = places.tobytes()
    return [data[at : at + _KEY_BYTES] for at in range(0, len(data), _KEY_BYTES)]


class Entries(NamedTuple):
    """The objects that queues hold of the states, made once for all queues."""

    series: NDArray[np.int64]
    places: NDArray[np.int64]
    keys: list[Key]
    wires: list[bytes]
    # The starts of all of them, and of those that are early.
    starts: set[int]
    early_starts: set[int]

    def early_keys(self) -> list[Key]:
        """Return the key that each had when it was early."""
        places = self.places.copy()
        places[:, 3] = -1
        return _keys_of(places)


class PublishedBars(Sequence[Published]):
    """States in their order; objects are made only when somebody asks for them.

    Args:
        places: of each state series, start, number and revision.
        data: all encoded states.
        stops: where each of them ends in the data.
    """

    def __init__(self, places: NDArray[np.int64], data: bytes, stops: NDArray[np.int64]) -> None:
        self.places = places
        self.data = data
        self.stops = stops

    @classmethod
    def of(cls, states: Iterable[Published]) -> PublishedBars:
        """Return these states."""
        states = list(states)
        places = np.array([state[:4] for state in states], np.int64).reshape(-1, 4)
        wires = [state.wire for state in states]
        return cls(places, b"".join(wires), np.cumsum([len(wire) for wire in wires], dtype=int))

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Published: ...
    @overload
    def __getitem__(self, index: slice) -> list[Published]: ...
    def __getitem__(self, index: int | slice) -> Published | list[Published]:
        return list(self)[index]

    def __iter__(self) -> Iterator[Published]:
        for place, wire in zip(self.places.tolist(), self.wires(), strict=True):
            series, start, number, revision = place
            yield Published(series, start, number, revision, wire)

    @property
    def series(self) -> NDArray[np.int64]:
        """The series of each state."""
        return self.places[:, 0]

    def entries(self) -> Entries:
        """Return what a queue holds of each state."""
        starts, is_early = self.places[:, 1], self.places[:, 3] < 0
        return Entries(
            self.series,
            self.places,
            _keys_of(self.places),
            self.wires(),
            set(np.unique(starts).tolist()),
            set(np.unique(starts[is_early]).tolist()),
        )

    def wires(self) -> list[bytes]:
        """Return the encoded states."""
        stops, data = self.stops.tolist(), self.data
        return [data[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]

    def pick(self, indexes: Sequence[int]) -> PublishedBars:
        """Return some of the states."""
        if len(indexes) == len(self):
            return self
        wires = self.wires()
        kept = [wires[index] for index in indexes]
        stops = np.cumsum([len(wire) for wire in kept], dtype=int)
        return PublishedBars(self.places[indexes], b"".join(kept), stops)
