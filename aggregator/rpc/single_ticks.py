"""Take single ticks from one stream, and apply those that came within a moment together."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import structlog

from aggregator.machine.inputs import Batch
from aggregator.machine.journal import Journal
from aggregator.machine.machine import Result
from marketdata.timestamps import UnitHistory
from marketdata.validation import TickRules
from marketdata.wire import market_data_pb2 as wire

log = structlog.get_logger()

# To apply ticks costs 60 µs, whether one or a hundred; to read one from gRPC as much. So ticks that
# come in one turn of the event loop after the other are applied together. While ticks wait to be
# read, the end of the connection would lose them: gRPC then drops what was not read.
MAX_DELAY_S = 0.001
MAX_WAITING = 1_000
# Turns of the event loop without a tick that end a run of ticks: gRPC needs one for each message.
QUIET_TURNS = 2


class SingleTicks:
    """The ticks of one ``StreamTicks`` call: each is checked, and invalid ones are dropped.

    Args:
        journal: applies the ticks.
        rules: how ticks are checked and normalized.
        clock: the wall clock in ns.
        stream: the number of this stream.
        drops: called with the ticks that were rejected, by reason.
    """

    def __init__(
        self,
        journal: Journal,
        rules: TickRules,
        clock: Callable[[], int],
        stream: int,
        drops: Callable[[Counter[str]], None],
    ) -> None:
        self._journal = journal
        self._rules = rules
        self._clock = clock
        self._stream = stream
        # The batches that are not applied yet.
        self._submitted = 0
        self._settled = asyncio.Event()
        self._failure: Exception | None = None
        self._drops = drops
        self._units = UnitHistory()
        self._loop = asyncio.get_running_loop()
        self._waiting: list[wire.Tick] = []
        # When the first of them came, and how many turns none has come.
        self._since = 0.0
        self._quiet_turns = 0
        self._turn: asyncio.Handle | None = None
        self.received = 0
        self.rejected: Counter[str] = Counter()

    @property
    def applied(self) -> int:
        """How many ticks were applied."""
        return self.received - len(self._waiting) - self.rejected.total()

    def add(self, tick: wire.Tick) -> None:
        """Take a tick, and apply it within a moment."""
        self.received += 1
        self._waiting.append(tick)
        self._quiet_turns = 0
        if len(self._waiting) >= MAX_WAITING:
            self.apply()
        elif self._turn is None:
            self._since = self._loop.time()
            self._turn = self._loop.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self._quiet_turns += 1
        is_due = self._loop.time() >= self._since + MAX_DELAY_S
        if is_due or self._quiet_turns > QUIET_TURNS:
            self.apply()
        else:
            self._turn = self._loop.call_soon(self._end_turn)

    def apply(self) -> None:
        """Apply all ticks that were taken."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        now_ns = self._clock()
        rejected: Counter[str] = Counter()
        valid: list[wire.Tick] = []
        refusals: list[wire.Refusal] = []
        changes = self._units.changes
        for tick in waiting:
            reason = self._rules.normalize(tick, now_ns, self._units)
            if reason is None:
                valid.append(tick)
            else:
                rejected[reason] += 1
                refusal = self._rules.refusal(tick, now_ns)
                if refusal is not None:
                    refusals.append(refusal)
        if self._units.changes > changes == 0:
            log.warning("timestamp_unit_changed", unit_ns=self._units.unit_ns)
        if valid or refusals:
            batch = wire.TickBatch(
                ticks=valid, refusals=refusals, any_price=self._rules.prices.has_others
            )
            self._submitted += 1
            self._journal.submit(Batch(self._stream, batch.SerializeToString()), self._applied)
        self._drop(rejected)

    def _applied(self, result: Result | Exception) -> None:
        self._submitted -= 1
        if isinstance(result, wire.BatchAck):
            self._drop(Counter(each.reason for each in result.rejections))
        elif isinstance(result, Exception):
            self._failure = result
        self._settled.set()

    def _drop(self, rejected: Counter[str]) -> None:
        self.rejected.update(rejected)
        self._drops(rejected)

    async def settle(self) -> None:
        """Apply all ticks that were taken, and wait until they are.

        Raises:
            Exception: ticks could not be applied.
        """
        self.apply()
        while self._submitted:
            self._settled.clear()
            await self._settled.wait()
        if self._failure is not None:
            raise self._failure

    def summary(self) -> str:
        """Return what was received and rejected; the beginning is the original's."""
        text = f"Received {self.received} ticks"
        if self.rejected:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.rejected.items())
            text += f", rejected {self.rejected.total()}: {reasons}"
        return text
