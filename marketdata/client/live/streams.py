"""The streams that programs take: with asyncio, and without."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Generic, Self, cast
from weakref import finalize

from marketdata.client.live.events import Data, Event, StaleReason, Update
from marketdata.client.live.link import Link
from marketdata.client.live.mailbox import Mailbox
from marketdata.client.live.wanted import Wanted
from marketdata.client.loop_thread import LoopThread
from marketdata.client.options import Checked


class AsyncStream(Generic[Data]):
    """Updates, as they come: the present state first, then each later one.

    ::

        async for update in client.stream(["AAPL"]):
            print(update.data.close)

    :meth:`events` gives the rest too: gaps, and when the states are stale and live again. The
    stream begins with the first event that is taken. It ends with :meth:`close`, with its client,
    or when nothing refers to it any more.
    """

    def __init__(self, options: Checked, wanted: Wanted, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._link = Link(options, wanted, mailbox)
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def stale(self) -> StaleReason | None:
        """Why the last states may be old now; None: they are current."""
        return self._link.session.stale

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Update[Data]:
        while (event := await self._take()) is not None:
            if isinstance(event, Update):
                return event
        raise StopAsyncIteration

    async def events(self) -> AsyncIterator[Event[Data]]:
        """Yield everything: updates, each gap before its update, ends of intervals, stale, live."""
        while (event := await self._take()) is not None:
            if isinstance(event, Update) and event.gap is not None:
                yield event.gap
            yield event

    async def close(self) -> None:
        """End the stream, and the iteration over it."""
        self._is_closed = True
        self._mailbox.end()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.close()

    async def _take(self) -> Event[Data] | None:
        if self._task is None and not self._is_closed:
            self._task = asyncio.create_task(self._link.run())
            # A task that is cancelled before it began ends nothing itself.
            mailbox = self._mailbox
            self._task.add_done_callback(lambda _: mailbox.end())
            finalize(self, _cancel, asyncio.get_running_loop(), self._task).atexit = False
        return cast("Event[Data] | None", await self._mailbox.take_soon())


class Stream(Generic[Data]):
    """Updates, as they come: the present state first, then each later one.

    ::

        for update in client.stream(["AAPL"]):
            print(update.data.close)

    It is :class:`AsyncStream` with plain calls. It begins at once.

    Raises:
        ClientClosed: the client is closed.
    """

    def __init__(
        self,
        owner: object,
        thread: LoopThread,
        options: Checked,
        wanted: Wanted,
        mailbox: Mailbox,
    ) -> None:
        # The client, which would end its thread if only its stream were kept.
        self._owner = owner
        self._mailbox = mailbox
        link = Link(options, wanted, mailbox)
        self._session = link.session
        self._running: Future[None] = thread.submit(link.run())
        # A task that is cancelled before it began ends nothing itself.
        self._running.add_done_callback(lambda _: mailbox.end())
        finalize(self, self._running.cancel).atexit = False

    @property
    def stale(self) -> StaleReason | None:
        """Why the last states may be old now; None: they are current."""
        return self._session.stale

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Update[Data]:
        while (event := self._mailbox.take()) is not None:
            if isinstance(event, Update):
                return cast("Update[Data]", event)
        raise StopIteration

    def events(self) -> Iterator[Event[Data]]:
        """Yield everything: updates, each gap before its update, ends of intervals, stale, live."""
        while (event := self._mailbox.take()) is not None:
            if isinstance(event, Update) and event.gap is not None:
                yield event.gap
            yield cast("Event[Data]", event)

    def close(self) -> None:
        """End the stream, and the iteration over it in whatever thread."""
        self._mailbox.end()
        self._running.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()


def _cancel(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(task.cancel)
