"""Carry what the hub follows over one Watch stream, again after every loss."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from random import Random
from typing import TYPE_CHECKING

import grpc
import structlog

from gateway.hub.hub import FeedStatus, Hub
from marketdata.wire import market_data_pb2 as wire

if TYPE_CHECKING:
    # The type of a stub on an asyncio channel; at run time there is no such class.
    from marketdata.wire.market_data_pb2_grpc import MarketDataServiceAsyncStub

log = structlog.get_logger()

# Between streams; while there is no connection the channel itself waits, with jitter.
FIRST_BACKOFF_S = 0.05
MAX_BACKOFF_S = 2.0
# A symbol is at most 34 bytes on the wire, and a message 4 MiB.
MAX_SYMBOLS_PER_REQUEST = 10_000
# States that may wait at the aggregator while this process is busy: 20 MB there.
BUFFERED_STATES = 65_536

Call = grpc.aio.StreamStreamCall[wire.WatchRequest, wire.UpdateBatch]


class _StreamOver(Exception):
    """The aggregator ended the stream without an error."""


class Upstream:
    """Keep the hub fed."""

    def __init__(self, stub: MarketDataServiceAsyncStub, hub: Hub, *, random: Random) -> None:
        self._stub = stub
        self._hub = hub
        self._random = random
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._sent_all = False
        hub.on_interest_changed = self._interest_changed

    async def run(self) -> None:
        """Keep a stream until cancelled; say once when it goes and comes."""
        told_gone = False
        backoff_s = FIRST_BACKOFF_S
        try:
            while True:
                # Once the log says it is gone, wait for it without another word.
                call: Call = self._stub.Watch(wait_for_ready=told_gone)
                try:
                    if await self._begin(call):
                        log.info("feed connected", symbols=len(self._hub.followed_symbols()))
                        told_gone = False
                        backoff_s = FIRST_BACKOFF_S
                        await self._carry(call)
                        self._hub.set_status(FeedStatus.STALE)
                finally:
                    call.cancel()
                    code, details = await call.code(), await call.details()
                if not told_gone:
                    log.warning("feed gone, clients are told", code=code.name, details=details)
                    told_gone = True
                await asyncio.sleep(backoff_s * self._random.uniform(0.5, 1.0))
                backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)
        finally:
            if self._timer is not None:
                self._timer.cancel()

    async def _begin(self, call: Call) -> bool:
        try:
            metadata = await call.initial_metadata()
            await call.wait_for_connection()
        except grpc.aio.AioRpcError:
            return False
        for name, value in metadata or ():
            if name == "epoch":
                self._hub.begin_epoch(int(value))
        return True

    async def _carry(self, call: Call) -> None:
        # Returns when the stream is lost.
        self._hub.take_interest_changes()
        self._sent_all = False
        first = self._requests(self._hub.followed_symbols(), ())
        try:
            await call.write(wire.WatchRequest(buffer=BUFFERED_STATES))
            for request in first:
                await call.write(request)
            self._hub.set_status(FeedStatus.LIVE)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send(call))
                tasks.create_task(self._receive(call))
        except* (grpc.aio.AioRpcError, asyncio.InvalidStateError, _StreamOver):
            # InvalidStateError is a write on a call that has ended.
            pass

    async def _send(self, call: Call) -> None:
        while True:
            self._changed.clear()
            for request in self._requests(*self._hub.take_interest_changes()):
                await call.write(request)
            await self._changed.wait()

    async def _receive(self, call: Call) -> None:
        while isinstance(batch := await call.read(), wire.UpdateBatch):
            self._hub.publish(batch.updates)
        raise _StreamOver

    def _requests(
        self, added: Iterable[str], removed: Iterable[str]
    ) -> Iterator[wire.WatchRequest]:
        for symbols in _chunks(removed):
            yield wire.WatchRequest(remove=symbols)
        for symbols in _chunks(added):
            yield wire.WatchRequest(add=symbols)
        if self._hub.follows_all != self._sent_all:
            self._sent_all = self._hub.follows_all
            yield wire.WatchRequest(all=self._sent_all)

    def _interest_changed(self) -> None:
        self._changed.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        when = self._hub.next_timer()
        if when is not None:
            self._timer = asyncio.get_running_loop().call_at(when, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._hub.expire(asyncio.get_running_loop().time())


def _chunks(symbols: Iterable[str]) -> Iterator[list[str]]:
    listed = list(symbols)
    for start in range(0, len(listed), MAX_SYMBOLS_PER_REQUEST):
        yield listed[start : start + MAX_SYMBOLS_PER_REQUEST]
