"""Log each input, then apply it: so a crash cannot undo what a client has seen."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from math import inf
from typing import NamedTuple

import structlog

from aggregator.machine.inputs import Batch, Clock, Input, Start, Watch, WatchEnded
from aggregator.machine.machine import Machine, Result
from aggregator.ticklog.log import TickLog

log = structlog.get_logger()

# What it takes to apply a record once more, and each byte of it: benchmarks/recovery.py measures
# 16 million ticks/s in batches of 10,000, and 1.3 million in batches of 40.
RECORD_S = 28e-6
BYTE_S = 1.6e-9

# How long a start waits for a log that cannot be written.
BEGIN_S = 5.0

# Gets what an input says, or why it failed.
Then = Callable[[Result | Exception], None]


class _Waiting(NamedTuple):
    """An input that is not in the log yet."""

    each: Input
    time_ns: int
    then: Then | None


class Journal:
    """Apply inputs in their order, each after it is in the log.

    Without a log an input is applied at once.

    Args:
        machine: what applies them.
        clock: the wall clock in ns.
    """

    def __init__(self, machine: Machine, clock: Callable[[], int]) -> None:
        self.machine = machine
        self._clock = clock
        self._log: TickLog | None = None
        self._waiting: deque[_Waiting] = deque()
        # See notify.
        self._every_s = self._left_s = inf
        self._enough: Callable[[], None] = lambda: None
        # What the newest look at the clock took.
        self._took_s = 0.0
        # Set when nothing waits.
        self._applied = asyncio.Event()
        # Streams are numbered from the clock on, so that their numbers differ between processes.
        self._last_stream = clock()

    def use(self, tick_log: TickLog) -> None:
        """Log all later inputs."""
        self._log = tick_log

    def notify(self, every_s: float, enough: Callable[[], None]) -> None:
        """Call ``enough`` each time that a restart would take so much longer, in s."""
        self._every_s, self._enough, self._left_s = every_s, enough, every_s

    @property
    def is_immediate(self) -> bool:
        """Whether an input is applied before :meth:`submit` returns."""
        return self._log is None

    @property
    def has_room(self) -> bool:
        """Whether few enough inputs wait that more batches may come."""
        return self._log is None or self._log.has_room

    async def wait_for_room(self) -> None:
        """Wait until there is room for a batch."""
        if self._log is not None and not self._log.has_room:
            await self._log.wait_for_room()

    def new_stream(self) -> int:
        """Return the number of a stream that begins."""
        self._last_stream += 1
        return self._last_stream

    async def begin(self, start: Start) -> None:
        """Submit the start of a process; wait for it, unless the log cannot be written."""
        self.submit(start)
        if self._waiting:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEGIN_S):
                    await self.settle()
        if self._waiting:
            log.error("log_not_writable", consequence="ticks wait until it is")

    async def settle(self) -> None:
        """Wait until every input that was submitted is applied."""
        while self._waiting:
            self._applied.clear()
            await self._applied.wait()

    def submit(self, each: Input, then: Then | None = None) -> None:
        """Log an input, apply it, then call ``then`` with what it says; never waits."""
        time_ns = self._clock()
        if self._log is None:
            self._apply(each, self.machine.position + 1, time_ns, then)
        else:
            self._waiting.append(_Waiting(each, time_ns, then))
            payload = each.payload()
            self._log.append(each.kind, time_ns, payload, self._logged)
            self._left_s -= RECORD_S + len(payload) * BYTE_S
            if self._left_s <= 0:
                self._left_s = self._every_s
                self._enough()

    async def watch(self, stream: int, data: bytes) -> None:
        """Submit a serialized ``WatchRequest``; waits while too much waits."""
        if self._log is not None and self._log.problem:
            # It may take hours until the log can be written again.
            self.machine.watches.show(stream, data)
        await self.wait_for_room()
        self.submit(Watch(stream, data))

    def watch_ended(self, stream: int) -> None:
        """Submit the end of a Watch stream."""
        self.submit(WatchEnded(stream))

    def submit_clock(self, max_symbols: int, then: Callable[[object, float], None]) -> None:
        """Let the engine close what is due by the wall clock, of at most so many symbols.

        Args:
            max_symbols: how many.
            then: gets what the input says, and how many seconds of this thread it took.
        """
        self.submit(Clock(max_symbols), lambda result: then(result, self._took_s))

    def _logged(self, offset: int) -> None:
        each, time_ns, then = self._waiting.popleft()
        self._apply(each, offset, time_ns, then)
        if not self._waiting:
            self._applied.set()

    def _apply(self, each: Input, position: int, time_ns: int, then: Then | None) -> None:
        result: Result | Exception
        # Not the wall clock: what other processes do is no reason for smaller slices.
        began_s = time.thread_time() if type(each) is Clock else 0.0
        try:
            result = self.machine.apply(each, position, time_ns)
        except Exception as exc:
            # The failure of a batch goes to its sender; that of another input only to the log.
            if not isinstance(each, Batch):
                log.exception("input_failed", kind=each.kind.name, position=position)
            result = exc
        if began_s:
            self._took_s = time.thread_time() - began_s
        if then is not None:
            then(result)
