"""Measure the compiled loops that encode states as Watch sends them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from aggregator.bars import layout
from aggregator.wire import encode as encoder
from aggregator.wire.pieces import pack_names
from aggregator.wire.symbol_table import SymbolTable
from benchmarks.harness import WrongResult
from benchmarks.latencies import Spread
from marketdata.timestamps import NS_PER_S
from marketdata.wire.market_data_pb2 import BAR_STATE_FINAL, COVERAGE_FULL, UpdateBatch

INTERVALS = ("1s", "1m", "5m", "15m", "1h", "1d")
NOW = 1_766_000_000 * NS_PER_S


class Sheet:
    """The columns of so many symbols, with numbers such as a busy day has."""

    def __init__(self, rows: int) -> None:
        chance = np.random.default_rng(7)
        self.rows = rows
        self.table = SymbolTable()
        for row in range(rows):
            self.table.add(f"S{row:04d}")
        lanes = len(INTERVALS)
        self.hot_ints = np.zeros((rows, layout.HOT_INTS), np.int64)
        self.hot_reals = np.zeros((rows, layout.HOT_REALS))
        self.ints = np.zeros((rows, layout.LANES + layout.LANE * lanes), np.int64)
        self.reals = np.zeros((rows, layout.LANE_REALS + layout.CANDLE * lanes))
        self.bars = np.zeros((rows, layout.BAR_INTS), np.int64)
        self.bar_reals = np.zeros((rows, layout.BAR_REALS))
        starts = [self.hot_ints, self.ints[:, layout.SESSION :], self.bars]
        reals = [self.hot_reals, self.reals[:, layout.SESSION_REALS :], self.bar_reals]
        for lane in range(lanes):
            column = layout.LANES + layout.LANE * lane
            self.ints[:, column + layout.START] = NOW - NOW % (60 * NS_PER_S)
            self.ints[:, column + layout.END] = NOW + 60 * NS_PER_S
            self.ints[:, column + layout.OPEN_SEQUENCE] = chance.integers(1, 100_000, rows)
            starts.append(self.ints[:, column + layout.LANE_CANDLE :])
            reals.append(self.reals[:, layout.LANE_REALS + layout.CANDLE * lane :])
        for ints, real in zip(starts, reals, strict=True):
            volumes = chance.integers(1, 1_000_000, rows)
            prices = chance.uniform(90, 110, rows)
            ints[:, layout.VOLUME] = volumes
            ints[:, layout.TRADES] = chance.integers(1, 20_000, rows)
            ints[:, layout.FIRST_TS] = NOW - NS_PER_S
            ints[:, layout.LAST_TS] = NOW + chance.integers(0, NS_PER_S, rows)
            for column in (layout.OPEN, layout.HIGH, layout.LOW, layout.CLOSE):
                real[:, column] = prices
            real[:, layout.NOTIONAL] = prices * volumes
        self.ints[:, layout.IN_SESSION] = 1
        self.ints[:, layout.SESSION_START] = NOW - NOW % (86_400 * NS_PER_S)
        self.ints[:, layout.BASE_START] = NOW
        self.hot_ints[:, layout.SEQUENCE] = chance.integers(1, 100_000, rows)
        self.bars[:, layout.BAR_ROW] = np.arange(rows)
        self.bars[:, layout.BAR_START] = NOW - NS_PER_S
        self.bars[:, layout.BAR_END] = NOW
        self.bars[:, layout.STATE] = BAR_STATE_FINAL
        self.bars[:, layout.COVERAGE] = COVERAGE_FULL
        self.bars[:, layout.BAR_SEQUENCE] = chance.integers(1, 100_000, rows)
        self.names = (
            self.table.names,
            self.table.lengths,
            *pack_names(INTERVALS, encoder.INTERVAL_WIDTH),
            *pack_names(layout.PHASES, encoder.PHASE_WIDTH),
        )
        self.out = np.zeros(rows * encoder.MAX_BAR_BYTES, np.uint8)
        self.ends = np.zeros(rows, np.int32)
        self.picked = np.arange(rows, dtype=np.int32)
        self.lanes = np.full(rows, 1, np.int32)
        self.coverages = np.full(rows, COVERAGE_FULL, np.int64)

    def write_states(self) -> int:
        """Write every state; return how many bytes they are."""
        return encoder.encode_states(
            self.picked,
            self.rows,
            self.hot_ints,
            self.hot_reals,
            self.ints,
            self.reals,
            *self.names[:2],
            NOW,
            self.out,
            self.ends,
        )

    def write_bars(self) -> int:
        """Write a closed bar of every symbol."""
        return encoder.encode_bars(
            self.picked,
            self.rows,
            self.bars,
            self.bar_reals,
            *self.names,
            NOW,
            self.out,
            self.ends,
        )

    def write_open_bars(self) -> int:
        """Write an open bar of every symbol."""
        return encoder.encode_open_bars(
            self.picked,
            self.lanes,
            self.rows,
            self.coverages,
            self.hot_ints,
            self.hot_reals,
            self.ints,
            self.reals,
            *self.names,
            NOW,
            self.out,
            self.ends,
        )


def measure_encoders(rows: int, passes: int) -> dict[str, Any]:
    """Measure how many states of so many symbols each loop writes in a second of CPU.

    Raises:
        WrongResult: the protobuf library reads something else.
    """
    sheet = Sheet(rows)
    kinds: dict[str, Callable[[], int]] = {
        "states": sheet.write_states,
        "bars": sheet.write_bars,
        "open_bars": sheet.write_open_bars,
    }
    found: dict[str, Any] = {"symbols": rows}
    rounds = max(1, 200_000 // rows)
    for name, write in kinds.items():
        size = write()
        batch = UpdateBatch.FromString(sheet.out[:size].tobytes())
        symbols = [each.symbol for each in batch.updates] + [bar.symbol for bar in batch.bars]
        if symbols != sheet.table.symbols:
            raise WrongResult(f"what was written of {name} is not of every symbol")
        rates, copies = [], []
        for _ in range(passes):
            began = time.thread_time()
            for _ in range(rounds):
                write()
            done = time.thread_time()
            for _ in range(rounds):
                sheet.out[:size].tobytes()
            copied = time.thread_time()
            rates.append(rounds * rows / (done - began))
            copies.append(rounds * rows / (copied - done))
        found[name] = Spread(tuple(rates)).to_dict()
        found[f"memcpy_{name}"] = Spread(tuple(copies)).to_dict()
    return found
