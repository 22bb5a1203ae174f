"""Pass events from the connection to the program that takes them, in this thread or another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from threading import Condition
from typing import Any

from marketdata.client.live.events import Event, Policy
from marketdata.client.live.pending import Pending


class Mailbox:
    """Events that wait, and the end after them.

    The connection calls :meth:`put`, :meth:`room` and :meth:`end` in its event loop. The program
    calls :meth:`take` in any thread, or :meth:`take_soon` in the event loop.
    """

    def __init__(self, policy: Policy) -> None:
        self._pending = Pending(policy)
        self._changed = Condition()
        self._is_ended = False
        self._error: Exception | None = None
        # What waits for an event in the event loop, and the connection that waits for room.
        self._waiters: list[asyncio.Future[None]] = []
        self._room: asyncio.Future[None] | None = None

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be read."""
        return self._pending.is_full

    def put(self, events: Iterable[Event[Any]]) -> None:
        """Add events."""
        with self._changed:
            for event in events:
                self._pending.put(event)
            self._wake()

    def end(self, error: Exception | None = None) -> None:
        """End the stream after the events that wait, with an error if there is one."""
        with self._changed:
            if not self._is_ended:
                self._is_ended = True
                self._error = error
            self._wake()

    async def room(self) -> None:
        """Wait until reading should go on."""
        with self._changed:
            if self._pending.has_room:
                return
            self._room = asyncio.get_running_loop().create_future()
        await self._room

    def take(self) -> Event[Any] | None:
        """Wait for the next event and return it; None: the stream has ended.

        Raises:
            ClientError: the stream has ended with it.
        """
        with self._changed:
            while (event := self._pop()) is None and not self._is_ended:
                self._changed.wait()
            return self._last(event)

    async def take_soon(self) -> Event[Any] | None:
        """Do as :meth:`take`, in the event loop.

        Raises:
            ClientError: the stream has ended with it.
        """
        while True:
            with self._changed:
                event = self._pop()
                if event is not None or self._is_ended:
                    return self._last(event)
                waiter = asyncio.get_running_loop().create_future()
                self._waiters.append(waiter)
            await waiter

    # The rest: called with the lock.
    def _pop(self) -> Event[Any] | None:
        event = self._pending.pop()
        if self._room is not None and self._pending.has_room:
            room, self._room = self._room, None
            room.get_loop().call_soon_threadsafe(_resolve, room)
        return event

    def _last(self, event: Event[Any] | None) -> Event[Any] | None:
        if event is None and self._error is not None:
            raise self._error
        return event

    def _wake(self) -> None:
        self._changed.notify_all()
        for waiter in self._waiters:
            _resolve(waiter)
        self._waiters.clear()


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
