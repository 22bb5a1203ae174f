"""Write millions of single-tick frames, as v1 producers send them, and sum them up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from fakeclient.walk import choose_symbols
from marketdata.symbols import MAX_SYMBOL_LENGTH
from marketdata.timestamps import NS_PER_S

# The length, then a symbol, a price and two numbers with their tags and lengths.
MAX_FRAME = 4 + 2 + MAX_SYMBOL_LENGTH + 9 + 11 + 11
# The decimals, and an id of digits, each with its tag, and the length of the id.
_ID_DIGITS = 10
MAX_MARKS = 2 + 2 + _ID_DIGITS
# The symbol of each connection's last tick; no other tick has it.
END = "THE.END"
_SYMBOL_TAG, _PRICE_TAG, _VOLUME_TAG, _TIME_TAG = 0x0A, 0x11, 0x18, 0x20
_DECIMALS_TAG, _ID_TAG = 0x30, 0x3A

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Ticks:
    """Ticks in the order in which they are sent, a column for each field."""

    # Numbers of symbols.
    chosen: Numbers
    prices: NDArray[np.float64]
    volumes: Numbers
    times: Numbers

    def __len__(self) -> int:
        return len(self.times)


class Totals:
    """The trades and the volume that were sent of each symbol."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self.symbols = symbols
        self.trades: Numbers = np.zeros(len(symbols), np.int64)
        self.volumes: Numbers = np.zeros(len(symbols), np.int64)

    def add(self, ticks: Ticks) -> None:
        """Count ticks that were sent."""
        count = len(self.symbols)
        self.trades += np.bincount(ticks.chosen, minlength=count)
        # Sums of doubles are exact below 2^53.
        self.volumes += np.bincount(ticks.chosen, ticks.volumes, count).astype(np.int64)


class FrameWriter:
    """Write ticks of some symbols.

    Args:
        symbols: the symbols.
        decimals: of the volumes, as each tick says; None: no tick says it.
        has_ids: whether each tick has an id.
    """

    def __init__(
        self, symbols: Sequence[str], *, decimals: int | None = None, has_ids: bool = False
    ) -> None:
        self._decimals = -1 if decimals is None else decimals
        # The id of the next tick; 0: there are none.
        self._next_id = int(has_ids)
        names = [symbol.encode() for symbol in symbols]
        # Each with its length in front.
        self._names = np.zeros((len(names), 1 + MAX_SYMBOL_LENGTH), np.uint8)
        for row, name in zip(self._names, names, strict=True):
            row[0] = len(name)
            row[1 : 1 + len(name)] = np.frombuffer(name, np.uint8)

    def write(self, ticks: Ticks) -> memoryview:
        """Return the frames, joined."""
        out = np.empty(len(ticks) * (MAX_FRAME + MAX_MARKS), np.uint8)
        prices = ticks.prices.view(np.uint8).reshape(-1, 8)
        marks = np.array([self._decimals, self._next_id])
        numbers = (ticks.volumes, ticks.times, marks)
        size = _write(self._names, ticks.chosen, prices, numbers, out)
        self._next_id += len(ticks) if self._next_id else 0
        return memoryview(out[:size].tobytes())


@njit(cache=True)
def _write(
    names: NDArray[np.uint8],
    chosen: Numbers,
    prices: NDArray[np.uint8],
    numbers: tuple[Numbers, Numbers, Numbers],
    out: NDArray[np.uint8],
) -> int:
    at = 0
    decimals, next_id = numbers[2]
    for index in range(chosen.size):
        start = at
        at += 4
        symbol = chosen[index]
        length = names[symbol, 0]
        out[at] = _SYMBOL_TAG
        for position in range(length + 1):
            out[at + 1 + position] = names[symbol, position]
        at += 2 + length
        out[at] = _PRICE_TAG
        for position in range(8):
            out[at + 1 + position] = prices[index, position]
        at += 9
        for field in range(2):
            left = numbers[field][index]
            out[at] = _TIME_TAG if field else _VOLUME_TAG
            at += 1
            while left > 0x7F:
                out[at] = (left & 0x7F) | 0x80
                left >>= 7
                at += 1
            out[at] = left
            at += 1
        if decimals >= 0:
            out[at], out[at + 1] = _DECIMALS_TAG, decimals
            at += 2
        if next_id:
            out[at], out[at + 1] = _ID_TAG, _ID_DIGITS
            left = next_id
            for position in range(_ID_DIGITS - 1, -1, -1):
                out[at + 2 + position] = ord("0") + left % 10
                left //= 10
            at += 2 + _ID_DIGITS
            next_id += 1
        # No frame is of 256 bytes.
        out[start] = out[start + 1] = out[start + 2] = 0
        out[start + 3] = at - start - 4
    return at


class Market:
    """Make up ticks of so many symbols, spread over so many connections.

    A connection has symbols of its own, as feeds have, so that each symbol's ticks arrive in the
    order in which they were made; where there are fewer symbols than connections, some share one.
    """

    def __init__(self, symbols: int, connections: int, seed: int = 1) -> None:
        self.symbols = (*choose_symbols(str(symbols)), END)
        self.connections = connections
        self.writer = FrameWriter(self.symbols)
        self.totals = Totals(self.symbols)
        self._random = np.random.default_rng(seed)
        own = [np.arange(n % symbols, symbols, connections) for n in range(connections)]
        self._own: list[Numbers] = own
        self._cents = self._random.integers(20_00, 500_00, len(self.symbols))

    def opening(self, start_ns: int) -> list[Ticks]:
        """Return one tick of each symbol, by connection."""
        return [self._finish(own, start_ns, 1, number) for number, own in enumerate(self._own)]

    def ticks(
        self, count: int, start_ns: int, per_s: int, late: float = 0.0, late_ns: int = NS_PER_S
    ) -> list[Ticks]:
        """Return ``count`` ticks by connection, ``per_s`` in each second of their own time.

        The share ``late`` of them is of ``late_ns`` before.
        """
        each = count // self.connections
        step_ns = NS_PER_S // per_s * self.connections
        return [
            self._finish(
                own[self._random.integers(0, len(own), each)],
                start_ns,
                step_ns,
                number,
                late=late,
                late_ns=late_ns,
            )
            for number, own in enumerate(self._own)
        ]

    def _finish(
        self,
        chosen: Numbers,
        start_ns: int,
        step_ns: int,
        connection: int,
        *,
        late: float = 0.0,
        late_ns: int = NS_PER_S,
    ) -> Ticks:
        chosen = np.append(chosen, len(self.symbols) - 1)
        count = len(chosen)
        steps = self._random.integers(-100, 101, count)
        times = start_ns + connection + np.arange(count, dtype=np.int64) * step_ns
        if late:
            times[:-1][self._random.random(count - 1) < late] -= late_ns
        ticks = Ticks(
            chosen,
            (self._cents[chosen] + steps) / 100,
            self._random.integers(1, 1_000, count),
            times,
        )
        self.totals.add(ticks)
        return ticks
