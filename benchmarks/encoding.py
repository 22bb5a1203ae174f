"""Measure the compiled loops that encode states as Watch sends them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from aggregator.bars.kernel import encode
from aggregator.bars.kernel.query import OPEN_BAR
from aggregator.bars.kernel.records import BAR, BASE, PHASES, SLOT, SYMBOL, OpenTables
from aggregator.bars.plan import BarPlan, parse_intervals
from aggregator.bars.tables import make_tables
from aggregator.wire.encoded import Out, pack_names
from aggregator.wire.symbol_table import SymbolTable
from benchmarks.harness import WrongResult
from benchmarks.latencies import Spread
from marketdata.timestamps import NS_PER_S
from marketdata.wire.market_data_pb2 import BAR_STATE_FINAL, COVERAGE_FULL, UpdateBatch

INTERVALS = ("1s", "1m", "5m", "15m", "1h", "1d")
NOW = 1_766_000_000 * NS_PER_S


class BusyTables:
    """The tables of so many symbols, with numbers such as a busy day has."""

    def __init__(self, rows: int) -> None:
        chance = np.random.default_rng(7)
        self.symbols = SymbolTable()
        for row in range(rows):
            self.symbols.add(f"S{row:04d}")
        plan = BarPlan(parse_intervals(",".join(INTERVALS)))
        self.tables = make_tables(plan)._replace(
            bases=np.zeros(rows, BASE),
            symbols=np.zeros(rows, SYMBOL),
            slots=np.zeros((rows, len(INTERVALS)), SLOT),
            bars=np.zeros(rows, BAR),
        )
        _, bases, symbols, slots, bars, *_ = self.tables
        slots["start"] = NOW - NOW % (60 * NS_PER_S)
        slots["end"] = NOW + 60 * NS_PER_S
        slots["open_sequence"] = chance.integers(1, 100_000, slots.shape)
        for candles in (bases["candle"], symbols["session"], slots["candle"], bars["candle"]):
            volumes = chance.integers(1, 1_000_000, candles.shape)
            prices = chance.uniform(90, 110, candles.shape)
            candles["volume"] = volumes
            candles["trades"] = chance.integers(1, 20_000, candles.shape)
            candles["first_ts"] = NOW - NS_PER_S
            candles["last_ts"] = NOW + chance.integers(0, NS_PER_S, candles.shape)
            for name in ("open", "high", "low", "close"):
                candles[name] = prices
            candles["notional"] = prices * volumes
        symbols["in_session"] = True
        symbols["session_start"] = NOW - NOW % (86_400 * NS_PER_S)
        symbols["base_start"] = NOW
        bases["sequence"] = chance.integers(1, 100_000, rows)
        bars["row"] = np.arange(rows)
        bars["start"], bars["end"] = NOW - NS_PER_S, NOW
        bars["state"], bars["coverage"] = BAR_STATE_FINAL, COVERAGE_FULL
        bars["sequence"] = chance.integers(1, 100_000, rows)
        self._open = OpenTables(bases, symbols, slots)
        self.texts = encode.Texts(
            self.symbols.names,
            self.symbols.lengths,
            *pack_names(INTERVALS, encode.NAME_WIDTH),
            *pack_names(PHASES, encode.NAME_WIDTH),
        )
        self.data = np.zeros(rows * encode.MAX_BAR_BYTES, np.uint8)
        ends = np.zeros(rows, np.int64)
        self._states_out = Out(self.data, ends, np.zeros(1, encode.STATE))
        self._bars_out = Out(self.data, ends, np.zeros(1, BAR))
        self._picked = np.arange(rows)
        self._open_bars = np.zeros(rows, OPEN_BAR)
        self._open_bars["row"], self._open_bars["slot"] = self._picked, 1
        self._coverages = np.full(rows, COVERAGE_FULL, np.int64)

    def write_states(self) -> int:
        """Write every state; return how many bytes they are."""
        out = self._states_out
        coverages, opened = self._coverages, self._open
        return encode.encode_states(self._open_bars, coverages, opened, *self.texts[:2], NOW, out)

    def write_bars(self) -> int:
        """Write a closed bar of every symbol."""
        out = self._bars_out
        return encode.encode_bars(self._picked, self.tables.bars, self.texts, NOW, out)

    def write_open_bars(self) -> int:
        """Write an open bar of every symbol."""
        return encode.encode_open_bars(
            self._open_bars, self._coverages, self._open, self.texts, NOW, self._bars_out
        )


def measure_encoders(rows: int, passes: int) -> dict[str, Any]:
    """Measure how many states of so many symbols each loop writes in a second of CPU.

    Raises:
        WrongResult: the protobuf library reads something else.
    """
    busy = BusyTables(rows)
    kinds: dict[str, Callable[[], int]] = {
        "states": busy.write_states,
        "bars": busy.write_bars,
        "open_bars": busy.write_open_bars,
    }
    found: dict[str, Any] = {"symbols": rows}
    rounds = max(1, 200_000 // rows)
    for name, write in kinds.items():
        size = write()
        batch = UpdateBatch.FromString(busy.data[:size].tobytes())
        symbols = [each.symbol for each in batch.updates] + [bar.symbol for bar in batch.bars]
        if symbols != busy.symbols.symbols:
            raise WrongResult(f"what was written of {name} is not of every symbol")
        rates, copies = [], []
        for _ in range(passes):
            began = time.thread_time()
            for _ in range(rounds):
                write()
            done = time.thread_time()
            for _ in range(rounds):
                busy.data[:size].tobytes()
            copied = time.thread_time()
            rates.append(rounds * rows / (done - began))
            copies.append(rounds * rows / (copied - done))
        found[name] = Spread(tuple(rates)).to_dict()
        found[f"memcpy_{name}"] = Spread(tuple(copies)).to_dict()
    return found
