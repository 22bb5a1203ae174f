"""Take the batches of one ``PublishTicks`` call, and ack them in their order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

from aggregator.machine.inputs import Batch
from aggregator.machine.journal import Journal
from aggregator.machine.machine import Result
from marketdata.wire.market_data_pb2 import BatchAck

# Acks that may wait: for the log, and for a producer that does not read them. As many batches may
# be read ahead, within the room of the log.
MAX_WAITING = 256


class Batches:
    """The batches of one call.

    With a log, the next batches are read while earlier ones are written: the log writes all that
    wait at once.

    Args:
        requests: the batches.
        stream: the number of the stream.
        journal: applies them.
        wait_for_room: waits until a batch may be applied.
    """

    def __init__(
        self,
        requests: AsyncIterator[bytes],
        stream: int,
        journal: Journal,
        wait_for_room: Callable[[], Awaitable[None]],
    ) -> None:
        self._requests = requests
        self._stream = stream
        self._journal = journal
        self._wait_for_room = wait_for_room
        self._results: deque[Result | Exception] = deque()
        # Batches that were read and are not acked.
        self._unacked = 0
        self._ended: BaseException | bool = False
        self._changed = asyncio.Event()
        self._has_place = asyncio.Event()

    async def acks(self) -> AsyncGenerator[BatchAck, None]:
        """Give the ack of each batch, in order, when it is applied.

        Raises:
            DecodeError: a batch does not parse.
            InvalidBatch: a batch is invalid.
        """
        if self._journal.is_immediate:
            async for batch in self._requests:
                await self._wait_for_room()
                self._journal.submit(Batch(self._stream, batch), self._results.append)
                yield _ack(self._results.popleft())
            return
        reading = asyncio.create_task(self._read())
        try:
            while not self._ended or self._unacked:
                while not self._results and not (self._ended and not self._unacked):
                    self._changed.clear()
                    await self._changed.wait()
                while self._results:
                    yield _ack(self._results.popleft())
                    self._unacked -= 1
                    self._has_place.set()
            if isinstance(self._ended, BaseException):
                raise self._ended
        finally:
            reading.cancel()

    async def _read(self) -> None:
        try:
            async for batch in self._requests:
                await self._wait_for_room()
                while self._unacked >= MAX_WAITING:
                    self._has_place.clear()
                    await self._has_place.wait()
                self._unacked += 1
                self._journal.submit(Batch(self._stream, batch), self._applied)
        except BaseException as exc:
            # The handler raises it, after the acks of what was read.
            self._ended = exc
        else:
            self._ended = True
        self._changed.set()

    def _applied(self, result: Result | Exception) -> None:
        self._results.append(result)
        self._changed.set()


def _ack(result: Result | Exception) -> BatchAck:
    if isinstance(result, BatchAck):
        return result
    if isinstance(result, Exception):
        raise result
    raise TypeError(f"a batch was answered with {result!r}")
