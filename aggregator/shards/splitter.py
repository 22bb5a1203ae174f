"""Divide each batch among the owners of its symbols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from aggregator.book import check_opening
from aggregator.columns import Batch, Decoder
from aggregator.numbering import Numbering, heard_times
from aggregator.producers import Producers
from aggregator.shards import kernel
from aggregator.shards.frames import make_frame
from aggregator.shards.owners import owner_of
from aggregator.symbol_table import SymbolTable
from marketdata.timestamps import NS_PER_S
from marketdata.validation import RejectReason, check_values
from marketdata.wire.market_data_pb2 import Tick
from marketdata.wire.shards_pb2 import Ticks, ToWorker

_MIN_ROOM = 1024


@dataclass(slots=True)
class Split:
    """One batch, divided."""

    last_sequence: int
    # How many of its ticks came before.
    duplicates: int
    # A frame for each worker.
    frames: list[bytes]
    # What no worker gets.
    rejections: list[tuple[int, RejectReason]] = field(default_factory=list)


class Splitter:
    """Read batches, number their ticks, and divide them.

    New symbols are let in here, in the order of arrival, so that there are as many and the same
    ones whatever the number of workers. What else may be wrong with a tick its worker finds.
    """

    def __init__(
        self,
        workers: int,
        *,
        max_symbols: int,
        producers: Producers,
        epoch: int,
        max_future_skew_s: float,
    ) -> None:
        self._workers = workers
        self._max_symbols = max_symbols
        self._numbering = Numbering(producers, epoch)
        self._max_future_skew_ns = int(max_future_skew_s * NS_PER_S)
        self._table = SymbolTable()
        self._decoder = Decoder(self._table)
        self._symbols: list[str] = []
        self._symbols_sorted = True
        # By row: the worker that has the symbol, and what that worker calls it.
        self._owners = np.zeros(_MIN_ROOM, np.int32)
        self._numbers = np.zeros(_MIN_ROOM, np.int32)
        # How many symbols, and how many ticks of the present batch, each worker has.
        self._opened = [0] * workers
        self._sizes = np.zeros(workers, np.int64)
        self._make_room(_MIN_ROOM)

    def __len__(self) -> int:
        return len(self._table)

    @property
    def duplicates(self) -> int:
        """How many ticks came again."""
        return self._numbering.duplicates

    def symbols(self) -> list[str]:
        """Return all symbols in byte order; do not change the list."""
        if not self._symbols_sorted:
            self._symbols = sorted(self._table.symbols)
            self._symbols_sorted = True
        return self._symbols

    def split(self, data: bytes, now_ns: int, feed: int) -> Split:
        """Divide one serialized ``TickBatch`` that came over a feed.

        Raises:
            DecodeError: it does not parse.
            InvalidBatch: the producer id is too long, or a sequence is outside 1..2^63-1.
        """
        return self._split(self._decoder.decode(data), now_ns, feed)

    def split_ticks(self, ticks: Sequence[Tick], now_ns: int, feed: int) -> Split:
        """Divide ticks that carry no identity."""
        return self._split(self._decoder.read(ticks), now_ns, feed)

    def _split(self, batch: Batch, now_ns: int, feed: int) -> Split:
        first, seen = self._numbering.number(batch)
        latest_ns = now_ns + self._max_future_skew_ns
        heard_first, heard_last = heard_times(batch, latest_ns) or (0, 0)
        common = Ticks(
            first_sequence=first,
            now_ns=now_ns,
            feed=feed,
            heard_first=heard_first,
            heard_last=heard_last,
            producer_id=batch.producer_id,
            report=batch.feed,
        )
        messages = [ToWorker(ticks=common) for _ in range(self._workers)]
        split = Split(first + batch.count - 1, seen, [])
        self._make_room(batch.count)
        self._sizes[:] = 0
        index = seen
        while True:
            index = kernel.split_ticks(
                index,
                batch.count,
                batch.rows,
                batch.prices,
                batch.volumes,
                batch.times,
                self._owners,
                self._numbers,
                self._sizes,
                self._part_offsets,
                self._part_symbols,
                self._part_prices,
                self._part_volumes,
                self._part_times,
            )
            if index >= batch.count:
                break
            reason = self._meet(messages, batch, index, latest_ns)
            if reason is not None:
                split.rejections.append((first + index, reason))
                index += 1
        for worker, size in enumerate(self._sizes.tolist()):
            messages[worker].ticks.count = size
            frame = make_frame(
                messages[worker].SerializeToString(),
                self._part_offsets[worker, :size],
                self._part_symbols[worker, :size],
                self._part_prices[worker, :size],
                self._part_volumes[worker, :size],
                self._part_times[worker, :size],
            )
            split.frames.append(frame)
        return split

    # Gives the tick of an unknown symbol the row of a known one, or returns why it has none.
    def _meet(
        self, messages: list[ToWorker], batch: Batch, index: int, latest_ns: int
    ) -> RejectReason | None:
        symbol = batch.strangers[index]
        row = self._table.rows.get(symbol)
        if row is None:
            price, volume = float(batch.prices[index]), int(batch.volumes[index])
            reason = check_values(price, volume, int(batch.times[index]), latest_ns)
            reason = reason or check_opening(symbol, price * volume)
            if reason is None and len(self._table) >= self._max_symbols:
                reason = RejectReason.TOO_MANY_SYMBOLS
            if reason is not None:
                return reason
            row = self._open(messages, symbol)
        batch.rows[index] = row
        return None

    def _open(self, messages: list[ToWorker], symbol: str) -> int:
        row = self._table.add(symbol)
        self._symbols_sorted = False
        if row == len(self._owners):
            self._owners = np.concatenate((self._owners, np.zeros_like(self._owners)))
            self._numbers = np.concatenate((self._numbers, np.zeros_like(self._numbers)))
        owner = owner_of(symbol, self._workers)
        self._owners[row] = owner
        self._numbers[row] = self._opened[owner]
        self._opened[owner] += 1
        messages[owner].ticks.opened.append(symbol)
        return row

    def _make_room(self, ticks: int) -> None:
        if len(getattr(self, "_part_offsets", ((),))[0]) < ticks:
            shape = (self._workers, 2 * ticks)
            self._part_offsets = np.zeros(shape, np.int32)
            self._part_symbols = np.zeros(shape, np.int32)
            self._part_prices = np.zeros(shape, np.float64)
            self._part_volumes = np.zeros(shape, np.int64)
            self._part_times = np.zeros(shape, np.int64)
