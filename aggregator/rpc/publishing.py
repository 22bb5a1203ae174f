"""Take the batches of one ``PublishTicks`` call, and ack them in their order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from functools import partial

from aggregator.machine.inputs import Batch
from aggregator.machine.journal import Journal
from aggregator.machine.machine import Result
from aggregator.rpc.acks import DELAY_S, JoinedAcks
from marketdata.load import LoadMeter
from marketdata.wire.market_data_pb2 import BatchAck, TickBatch

# Batches that may be read and not acked: acks wait for the log, and for a producer that does not
# read them.
MAX_WAITING = 256
# In the metadata of a call, the producer whose acks may wait.
DELAYED_ACKS = "delayed-acks"


class Batches:
    """The batches of one call.

    The next batches are read while earlier ones are written to the log, which writes all that wait
    at once.

    Args:
        requests: the batches.
        stream: the number of the stream.
        journal: applies them.
        wait_for_room: waits until a batch may be applied.
        delayed: the producer whose acks may wait; empty: every batch is acked at once.
        load: measures the load of this process.
    """

    def __init__(
        self,
        requests: AsyncIterator[bytes],
        stream: int,
        journal: Journal,
        wait_for_room: Callable[[], Awaitable[None]],
        *,
        delayed: str,
        load: LoadMeter,
    ) -> None:
        self._requests = requests
        self._stream = stream
        self._journal = journal
        self._wait_for_room = wait_for_room
        # The first bytes of the batches of this producer.
        self._delayed = TickBatch(producer_id=delayed).SerializeToString()
        self._acks = JoinedAcks(load)
        # Runs while an ack waits for the next batch.
        self._timer: asyncio.TimerHandle | None = None
        # When the last batch was applied, on the clock of the loop.
        self._last_s = 0.0
        # Batches that were read and are not applied.
        self._unapplied = 0
        self._is_over = False
        self._failure: BaseException | None = None
        self._changed = asyncio.Event()
        self._has_place = asyncio.Event()

    async def acks(self) -> AsyncGenerator[BatchAck, None]:
        """Give the acks of the batches, in order, when they are applied.

        Raises:
            DecodeError: a batch does not parse.
            InvalidBatch: a batch is invalid.
        """
        reading = asyncio.create_task(self._read())
        try:
            while True:
                while due := self._acks.take():
                    for ack in due:
                        yield ack
                    self._has_place.set()
                if self._is_over and not self._unapplied:
                    if not self._acks.is_waiting:
                        break
                    self._acks.release()
                else:
                    self._changed.clear()
                    await self._changed.wait()
            if self._failure is not None:
                raise self._failure
        finally:
            reading.cancel()
            self._cancel_timer()

    async def _read(self) -> None:
        try:
            async for batch in self._requests:
                await self._wait_for_room()
                while self._unapplied + self._acks.due >= MAX_WAITING:
                    self._has_place.clear()
                    await self._has_place.wait()
                if self._failure is not None:
                    break
                self._unapplied += 1
                may_wait = bool(self._delayed) and batch.startswith(self._delayed)
                self._journal.submit(
                    Batch(self._stream, batch), partial(self._applied, may_wait=may_wait)
                )
        except BaseException as exc:
            # The handler raises it, after the acks of the batches before.
            self._failure = self._failure or exc
        self._is_over = True
        self._changed.set()

    def _applied(self, result: Result | Exception, *, may_wait: bool) -> None:
        self._unapplied -= 1
        if isinstance(result, BatchAck):
            loop = asyncio.get_running_loop()
            before_s, self._last_s = self._last_s, loop.time()
            # A timer costs more than the ack that it saves, unless batches follow each other.
            is_frequent = self._last_s - before_s < DELAY_S
            self._acks.add(result, may_wait=may_wait and is_frequent)
            if self._acks.is_waiting and self._timer is None:
                self._timer = loop.call_later(DELAY_S, self._release)
            elif not self._acks.is_waiting:
                self._cancel_timer()
        elif self._failure is None:
            self._failure = _failure_of(result)
            self._is_over = True
        if self._acks.due or self._is_over:
            self._changed.set()

    def _release(self) -> None:
        self._timer = None
        self._acks.release()
        self._changed.set()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _failure_of(result: Result | Exception) -> Exception:
    if isinstance(result, Exception):
        return result
    return TypeError(f"a batch was answered with {result!r}")
