"""Send parcels in a producer session, whose ticks are acked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from math import inf

from fakeclient.packing import Parcel
from fakeclient.report import Counts
from marketdata.producer import EncodedTicks, Producer, ProducerError, RejectedTick

# So that what is shown as sent is little ahead of what is acked.
_MAX_UNACKED_TICKS = 200_000
# Without retry, the server must answer within so much.
_CONNECT_TIMEOUT_S = 5.0
# Acks may take so long after the last tick.
_CLOSE_TIMEOUT_S = 5.0


class AckedConnection:
    """One producer session; the library connects it again whenever it is lost.

    :attr:`failure` says what ended it; that sets ``stop``.
    """

    def __init__(
        self,
        address: str,
        producer_id: str,
        counts: Counts,
        stop: asyncio.Event,
        say: Callable[[str], None],
        *,
        retry: bool,
    ) -> None:
        self._address = address
        self._counts = counts
        self._stop = stop
        self._say = say
        self.failure: str | None = None
        self._producer = Producer(
            address,
            producer_id,
            max_unacked_ticks=_MAX_UNACKED_TICKS,
            on_reject=self._count_rejected,
            connect_timeout_s=inf if retry else _CONNECT_TIMEOUT_S,
            close_timeout_s=_CLOSE_TIMEOUT_S,
        )

    async def open(self) -> None:
        """Begin the session, or return after ``stop`` was set."""
        if await self._run(self._producer.open()):
            self._say(f"connected to {self._address}")

    async def send(self, parcels: Iterable[Parcel]) -> None:
        """Send ``parcels`` in order, up to ``stop``."""
        for parcel in parcels:
            if not await self._run(self._producer.send_encoded(EncodedTicks(*parcel[:2]))):
                return
            self._counts.add_sent(parcel)

    async def flush(self) -> None:
        """Wait for the acks of everything, or until ``stop`` is set."""
        await self._run(self._producer.flush())

    async def close(self) -> None:
        """Wait for the acks for a while, and end the session."""
        try:
            await self._producer.close()
        except ProducerError as exc:
            self._fail(str(exc))
        self._counts.acked += self._producer.acked

    def abort(self) -> None:
        """Do nothing: to close takes a limited time."""

    async def _run(self, work: Coroutine[object, object, None]) -> bool:
        # Returns whether it was done; what is cancelled was not sent.
        if self._stop.is_set():
            work.close()
            return False
        working = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not working.done():
            working.cancel()
            with suppress(asyncio.CancelledError, ProducerError):
                await working
            return False
        try:
            working.result()
        except ProducerError as exc:
            self._fail(str(exc))
            return False
        return True

    def _fail(self, reason: str) -> None:
        self.failure = self.failure or reason
        self._stop.set()

    def _count_rejected(self, _sequence: int, reason: str, _tick: RejectedTick) -> None:
        self._counts.rejected[reason] += 1
