"""Write to one client as things come up, while listening to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from starlette.websockets import WebSocketDisconnect

T = TypeVar("T")
Begin = Callable[[], Awaitable[None]]
Listen = Callable[[], Coroutine[Any, Any, None]]


class Pump(Generic[T]):
    """Move items to one client until a write says it was the last, or the client is gone.

    Nothing but :meth:`run` ever waits for the client.
    """

    def __init__(self) -> None:
        self._wake = asyncio.Event()
        self._timeout: asyncio.Timeout | None = None
        # Whether it waits for the next item; whoever takes items meanwhile writes them itself.
        self.is_idle = False

    def wake(self) -> None:
        """Look for the next item."""
        self._wake.set()

    def abort(self) -> None:
        """End :meth:`run`, even in the middle of a write."""
        if self._timeout is not None:
            self._timeout.reschedule(asyncio.get_running_loop().time())

    async def run(
        self,
        begin: Begin,
        next_item: Callable[[], T | None],
        write: Callable[[T], Awaitable[bool]],
        listen: Listen,
    ) -> bool:
        """Write each item of ``next_item`` until ``write`` returns False.

        Args:
            begin: Awaited first.
            next_item: Returns None for "not yet"; asked again after :meth:`wake`.
            write: Returns whether there may be more. A cancellation cuts the item short.
            listen: Runs beside the writes, and returns when the client is gone.

        Returns:
            Whether the last write was done; False if the client is gone or was given up.
        """
        listener: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(None) as self._timeout:
                await begin()
                listener = asyncio.create_task(listen())
                listener.add_done_callback(lambda _: self._wake.set())
                while not listener.done():
                    self._wake.clear()
                    item = next_item()
                    if item is None:
                        self.is_idle = True
                        await self._wake.wait()
                        self.is_idle = False
                    elif not await write(item):
                        return True
        # The timeout of abort() is an OSError as well.
        except (OSError, WebSocketDisconnect):
            pass
        finally:
            self._timeout = None
            self.is_idle = False
            if listener is not None:
                listener.cancel()
                await asyncio.wait([listener])
        if listener is not None and not listener.cancelled():
            # Raises an error that the listener did not expect.
            listener.result()
        return False
