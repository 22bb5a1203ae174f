"""States of bars that were published together, as columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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


# Loops copy the data in blocks: so many bytes follow the last state.
SLACK_BYTES = 16


class PublishedBars(Sequence[Published]):
    """States in their order; objects are made only when somebody asks for them.

    Args:
        places: of each state series, start, number and revision.
        data: all encoded states, and SLACK_BYTES more.
        stops: where each of them ends in the data.
    """

    def __init__(
        self, places: NDArray[np.int64], data: NDArray[np.uint8], stops: NDArray[np.int64]
    ) -> None:
        self.places = places
        self.data = data
        self.stops = stops

    @classmethod
    def of(cls, states: Iterable[Published]) -> PublishedBars:
        """Return these states."""
        states = list(states)
        places = np.array([state[:4] for state in states], np.int64).reshape(-1, 4)
        wires = [state.wire for state in states]
        data = np.frombuffer(b"".join((*wires, bytes(SLACK_BYTES))), np.uint8).copy()
        return cls(places, data, np.cumsum([len(wire) for wire in wires], dtype=np.int64))

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

    def wires(self) -> list[bytes]:
        """Return the encoded states."""
        stops, data = self.stops.tolist(), self.data.tobytes()
        return [data[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]
