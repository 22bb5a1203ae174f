"""Give symbols row numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aggregator.wire.decode import place_rows
from marketdata.symbols import MAX_SYMBOL_LENGTH

_HEAD_BYTES = MAX_SYMBOL_LENGTH // 2
# Not zeros: a symbol that ends with a zero byte is another symbol.
_PADDING = b"\xff"
_MIN_SLOTS = 1024


class SymbolTable:
    """Give each symbol a row number, and let compiled loops find it by its bytes."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        # The symbol of each row.
        self.symbols: list[str] = []
        self.slots: NDArray[np.int32] = np.full(_MIN_SLOTS, -1, np.int32)
        # Its bytes, filled up to eight words, and its length.
        self.names: NDArray[np.int64] = np.zeros((_MIN_SLOTS // 2, 8), np.int64)
        # The first four words of it.
        self.heads: NDArray[np.int64] = np.zeros((_MIN_SLOTS // 2, 4), np.int64)
        self.lengths: NDArray[np.int64] = np.zeros(_MIN_SLOTS // 2, np.int64)
        self._see_bytes()

    def __len__(self) -> int:
        return len(self.symbols)

    def add(self, symbol: str) -> int:
        """Return the row of a new symbol, which is in normal form."""
        row = len(self.symbols)
        if 2 * row >= len(self.slots):
            self._grow()
        self.rows[symbol] = row
        self.symbols.append(symbol)
        data = symbol.encode()
        padded = data.ljust(MAX_SYMBOL_LENGTH, _PADDING)
        # As bytes: numpy takes 2 us to assign so few numbers.
        end = (row + 1) * MAX_SYMBOL_LENGTH
        self._name_bytes[end - MAX_SYMBOL_LENGTH : end] = padded
        self._head_bytes[end // 2 - _HEAD_BYTES : end // 2] = padded[:_HEAD_BYTES]
        self.lengths[row] = len(data)
        place_rows(self.slots, self.lengths, self.names, row, row + 1)
        return row

    def _grow(self) -> None:
        self.slots = np.full(2 * len(self.slots), -1, np.int32)
        self.names = np.concatenate((self.names, np.zeros_like(self.names)))
        self.heads = np.concatenate((self.heads, np.zeros_like(self.heads)))
        self.lengths = np.concatenate((self.lengths, np.zeros_like(self.lengths)))
        self._see_bytes()
        place_rows(self.slots, self.lengths, self.names, 0, len(self.symbols))

    def _see_bytes(self) -> None:
        self._name_bytes = self.names.reshape(-1).view(np.uint8).data
        self._head_bytes = self.heads.reshape(-1).view(np.uint8).data

    def dump_state(self) -> list[str]:
        """Return the symbol of each row."""
        return self.symbols

    def load_state(self, symbols: Sequence[str]) -> None:
        """Take these symbols in, as after :meth:`add` of each."""
        self.symbols = list(symbols)
        self.rows = {symbol: row for row, symbol in enumerate(symbols)}
        count, size = len(symbols), _MIN_SLOTS
        while 2 * count > size:
            size *= 2
        self.slots = np.full(size, -1, np.int32)
        self.names = np.zeros((size // 2, 8), np.int64)
        data = [symbol.encode() for symbol in symbols]
        padded = b"".join(each.ljust(MAX_SYMBOL_LENGTH, _PADDING) for each in data)
        self.names[:count] = np.frombuffer(padded, np.int64).reshape(count, 8)
        self.heads = self.names[:, :4].copy()
        self.lengths = np.zeros(size // 2, np.int64)
        self.lengths[:count] = [len(each) for each in data]
        self._see_bytes()
        place_rows(self.slots, self.lengths, self.names, 0, count)
