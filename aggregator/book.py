"""Keep the OHLCV state of every symbol, decided by event time.

Any arrival order of the same ticks gives the same state: open and close go by (exchange time,
sequence), ties fall to arrival; high, low, volume and trades do not depend on order, vwap to 1e-12.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.amending import Amender, check_trade
from aggregator.bars.engine import BarEngine
from aggregator.bars.kernel import codes, encode
from aggregator.bars.kernel.apply import apply_marked, apply_ticks
from aggregator.bars.source import Accepted
from aggregator.bars.tables import set_value_limits
from aggregator.bars.trade_memory import TradeMemory
from aggregator.wire.batch import Batch, Decoder
from aggregator.wire.encoded import EncodedRoom, message_of
from aggregator.wire.ticks import ACTION, ACTION_SHIFT
from marketdata.errors import InvalidSymbol
from marketdata.symbols import normalize_symbol
from marketdata.validation import DEFAULT_LIMITS, RejectReason, ValueLimits
from marketdata.wire.market_data_pb2 import Aggregate, Refusal, Tick, TickAction

_NO_ROWS = np.zeros(0, np.int32)
# An enum of the library takes 1 us to look up.
_CANCEL = TickAction.TICK_ACTION_CANCEL
_NO_INDEXES: frozenset[int] = frozenset()


@dataclass
class Applied:
    """What became of some ticks."""

    accepted: int = 0
    # Trades whose id came before.
    duplicates: int = 0
    rejections: list[tuple[int, RejectReason]] = field(default_factory=list)
    # The rows of the symbols with a new state.
    rows: NDArray[np.int32] = field(default_factory=lambda: _NO_ROWS)
    # The columns of the batch, and which of them count.
    ticks: Accepted | None = None


class Book:
    """Apply ticks to the trades of their symbols.

    :attr:`late` counts ticks of an earlier session than their symbol's present one: they are
    accepted and change nothing here.
    """

    def __init__(
        self,
        engine: BarEngine,
        *,
        max_symbols: int,
        epoch: int,
        limits: ValueLimits = DEFAULT_LIMITS,
        max_trade_ids: int = 5_000_000,
    ) -> None:
        self.engine = engine
        self._max_symbols = max_symbols
        engine.output.epoch = epoch
        # Hears of each symbol that is taken in, with its row.
        self.opened: Callable[[str, int], None] = lambda _symbol, _row: None
        self._limits = limits
        self._table = engine.table
        set_value_limits(self._table.tables.state, limits)
        self._known = engine.table.symbols
        self._room = EncodedRoom(encode.MAX_STATE_BYTES, encode.STATE)
        self.decoder = Decoder(self._known)
        self.memory = TradeMemory(max_trade_ids)
        self._amender = Amender(self._table, self.memory)
        self._symbols: list[str] = []
        self._symbols_sorted = True

    def __len__(self) -> int:
        return len(self._symbols)

    def start(self, epoch: int) -> None:
        """Publish the next states under an epoch."""
        self.engine.output.epoch = epoch

    def limit(self, max_symbols: int, limits: ValueLimits) -> None:
        """Let other limits hold from now on."""
        self._max_symbols = max_symbols
        self._limits = limits
        set_value_limits(self._table.tables.state, limits)

    @property
    def epoch(self) -> int:
        """The name of this run of the state."""
        return self.engine.output.epoch

    @property
    def late(self) -> int:
        """How many ticks were of an earlier session than their symbol's present one."""
        return self.engine.counts.late

    def row(self, symbol: str) -> int | None:
        """Return the row of a symbol; None: there is no such symbol yet."""
        return self._known.rows.get(symbol)

    def symbol(self, row: int) -> str:
        """Return the symbol of a row."""
        return self._known.symbols[row]

    def has_state(self, row: int) -> bool:
        """Return whether a session of the symbol has had a trade."""
        tables = self._table.tables
        symbol = tables.symbols[row]
        if symbol["session"]["trades"]:
            return True
        return bool(symbol["in_session"] and tables.bases[row]["candle"]["trades"])

    def states(self, rows: Sequence[int]) -> list[bytes]:
        """Return the present states, each as one of the ``updates`` of an ``UpdateBatch``.

        Empty where a symbol has none.
        """
        table, known = self._table, self._known
        found, coverages = table.find_sessions(np.array(rows, np.int64))
        out = self._room.reserve(len(rows))
        encode.encode_states(
            found,
            coverages,
            table.open_tables,
            known.names,
            known.lengths,
            self.epoch,
            out,
        )
        return self._room.cut(len(rows))

    def aggregate(self, symbol: str) -> Aggregate | None:
        """Return the present state of ``symbol``, or None before its first session."""
        row = self.row(symbol)
        if row is None:
            return None
        (record,) = self.states([row])
        return Aggregate.FromString(message_of(record)) if record else None

    def state(self, symbol: str) -> Aggregate:
        """Return the present state of a symbol that has one.

        Raises:
            KeyError: it has none.
        """
        message = self.aggregate(symbol)
        if message is None:
            raise KeyError(symbol)
        return message

    def symbols(self) -> list[str]:
        """Return all symbols in byte order; do not change the list."""
        if not self._symbols_sorted:
            self._symbols.sort()
            self._symbols_sorted = True
        return self._symbols

    def apply(
        self, ticks: Sequence[Tick], first_sequence: int, latest_ns: int, now_ns: int = 0
    ) -> Applied:
        """Apply normalized ticks as :meth:`apply_batch` does."""
        return self.apply_batch(self.decoder.read(ticks), first_sequence, latest_ns, now_ns)

    def apply_batch(
        self,
        batch: Batch,
        first_sequence: int,
        latest_ns: int,
        now_ns: int = 0,
        *,
        skip: int = 0,
        refusals: Sequence[Refusal] = (),
    ) -> Applied:
        """Apply ticks in the order of their arrival and count one new state per changed symbol.

        Args:
            batch: normalized ticks.
            first_sequence: the sequence of the first tick; the others follow without a gap.
            latest_ns: the latest exchange time that is not in the future.
            now_ns: when they arrived; 0: their bars close by their own time alone.
            skip: how many of the first ones to leave out.
            refusals: ticks that were refused before they came here.
        """
        table, ticks = self._table, batch.ticks
        duplicates = table.duplicates
        self.engine.begin_batch(now_ns, latest_ns, any_price=batch.any_price)
        if refusals:
            # Before the ticks, which may close the bars that the refusals belong to.
            made = ((each.symbol, each.exchange_timestamp) for each in refusals)
            self.engine.refuse(
                (symbol, ts) for symbol, ts in made if 0 < ts <= latest_ns and _is_symbol(symbol)
            )
        rejected, n_changed, is_marked = self._apply_all(batch, first_sequence, latest_ns, skip)
        if rejected:
            self.engine.refuse(self._refused(batch, rejected, latest_ns))
            # Each is a new state of its symbol.
            n_changed = int(table.tables.state["changed"][0])
        changed = table.tables.noted["changed"][:n_changed].astype(np.int32)
        left_out = _NO_INDEXES
        if batch.empty or rejected or is_marked:
            left_out = frozenset(batch.without_trade(skip, batch.count)).union(
                index for index, _ in rejected
            )
        amends = self._amender.take()
        accepted = Accepted(ticks, skip, batch.count, first_sequence, left_out, amends)
        applied = Applied(
            accepted=batch.count - min(skip, batch.count) - len(left_out) + len(amends),
            duplicates=table.duplicates - duplicates,
            rejections=[(first_sequence + index, reason) for index, reason in rejected],
            rows=changed,
            ticks=accepted,
        )
        self.engine.end_batch(accepted)
        return applied

    # Runs the loops over the ticks from ``skip`` on; returns those that are rejected, how many rows
    # changed, and whether some of the ticks have decimals, ids or conditions.
    def _apply_all(
        self, batch: Batch, first_sequence: int, latest_ns: int, skip: int
    ) -> tuple[list[tuple[int, RejectReason]], int, bool]:
        table, ticks = self._table, batch.ticks
        rejected: list[tuple[int, RejectReason]] = []
        index, is_marked = skip, False
        while True:
            # A call costs 3 us, a tick in it 7 ns.
            if is_marked:
                code, index, n_changed = apply_marked(
                    *(table.tables, ticks, self.memory.columns),
                    *(index, batch.count, first_sequence),
                )
            else:
                code, index, n_changed = apply_ticks(
                    table.tables, ticks, index, batch.count, first_sequence
                )
            if code == codes.DONE:
                break
            if code == codes.MARKED:
                is_marked = True
                self.memory.begin(ticks, index, batch.count)
            elif code == codes.NEED_ROOM:
                table.make_room(int(batch.rows[index]))
            elif code == codes.NEED_RULE:
                table.find_session(int(batch.rows[index]), int(batch.times[index]))
            else:
                reason = self._check(batch, index, latest_ns, code)
                if reason is not None:
                    rejected.append((index, reason))
                    index += 1
        return rejected, n_changed, is_marked

    # Returns the symbols and times of refused ticks, where both are valid.
    def _refused(
        self, batch: Batch, rejected: Sequence[tuple[int, RejectReason]], latest_ns: int
    ) -> Iterator[tuple[str, int]]:
        for index, _ in rejected:
            symbol, ts = batch.symbol(index, self._known), int(batch.times[index])
            if 0 < ts <= latest_ns and _is_symbol(symbol):
                yield symbol, ts

    # Returns why a tick that the loop did not take is rejected. None: its symbol is open now, try
    # again. A restored symbol is like a new one.
    def _check(self, batch: Batch, index: int, latest_ns: int, code: int) -> RejectReason | None:
        if code == codes.OVERFLOW:
            return RejectReason.TOTAL_OVERFLOW
        reason = batch.invalid.get(index)
        action = int(batch.ticks.marks[index]) >> ACTION_SHIFT & ACTION
        if reason is None and action != _CANCEL:
            reason = check_trade(batch, index, latest_ns, self._limits)
        if reason is not None:
            return reason
        symbol = batch.symbol(index, self._known)
        row = self.row(symbol)
        if action:
            # A symbol that is not known has no trades.
            batch.rows[index] = -1 if row is None else row
            return self._amender.amend(batch, index)
        if row is None or code == codes.NEED_OPEN:
            reason = self._check_new(symbol, float(batch.prices[index]) * batch.volume(index)[0])
            if reason is not None:
                return reason
            row = self.open(symbol)
        batch.rows[index] = row
        if code == codes.NEED_SCALE and not self._table.fit_scale(row, *batch.volume(index)):
            return RejectReason.TOTAL_OVERFLOW
        return None

    def open_restored(self) -> None:
        """Take in the symbols whose present session was restored."""
        for row, symbol in enumerate(self._known.symbols):
            if self.has_state(row) and len(self._symbols) < self._max_symbols:
                self.open(symbol)

    def dump_state(self) -> dict[str, Any]:
        """Return the state of the engine, which has the symbols, and the remembered trades."""
        return {**self.engine.dump_state(), "memory": self.memory.dump_state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where another book was; this one has no symbols, and nobody hears of them."""
        self.engine.load_state(state)
        self.memory.load_state(state["memory"])
        unopened = self._table.tables.symbols["unopened"][: len(self._known)].tolist()
        pairs = zip(self._known.symbols, unopened, strict=True)
        self._symbols = [symbol for symbol, is_unopened in pairs if not is_unopened]
        self._symbols_sorted = False

    def open(self, symbol: str) -> int:
        """Take in a new symbol, which was checked; return its row."""
        row = self.engine.open(symbol)
        self._symbols.append(symbol)
        self._symbols_sorted = False
        self.opened(symbol, row)
        return row

    def _check_new(self, symbol: str, notional: float) -> RejectReason | None:
        # Known symbols were checked here once, so only new ones cost the pattern.
        reason = check_opening(symbol, notional)
        if reason is None and len(self._symbols) >= self._max_symbols:
            reason = RejectReason.TOO_MANY_SYMBOLS
        return reason


def _is_symbol(text: str) -> bool:
    try:
        return normalize_symbol(text) == text
    except InvalidSymbol:
        return False


def check_opening(symbol: str, notional: float) -> RejectReason | None:
    """Return why a tick with good values cannot be the first of its symbol, or None.

    Args:
        symbol: the text, which may not be a valid symbol.
        notional: price x volume.
    """
    if notional == inf:
        return RejectReason.TOTAL_OVERFLOW
    try:
        if normalize_symbol(symbol) != symbol:
            return RejectReason.INVALID_SYMBOL
    except InvalidSymbol as exc:
        return RejectReason(exc.reason)
    return None
