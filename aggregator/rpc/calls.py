"""End long calls in order: first let them finish, then cut them off."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from marketdata.errors import MarketDataError

# How long a peer that does not read may delay the shutdown after its call was ended.
END_TIMEOUT_S = 1.0
# When a peer is lost, its last message looks like the orderly end. The cancellation of the call
# comes right after.
CANCELLATION_S = 0.005


class ShuttingDown(MarketDataError):
    """The aggregator stops; the caller should connect again."""

    def __init__(self) -> None:
        super().__init__("the aggregator is shutting down")


class Calls:
    """The calls of one kind that are in progress."""

    def __init__(self) -> None:
        # The timeouts of the open calls; a timeout that expires ends its call.
        self._ends: set[asyncio.Timeout] = set()
        self._none = asyncio.Event()
        self._ending = False

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Register a call for the time of the context.

        Raises:
            ShuttingDown: :meth:`end` has ended it.
        """
        try:
            async with asyncio.timeout(0 if self._ending else None) as end:
                self._ends.add(end)
                yield
        except TimeoutError:
            raise ShuttingDown from None
        finally:
            self._ends.discard(end)
            if not self._ends:
                self._none.set()

    async def end(self, drain_s: float) -> None:
        """Let calls finish for ``drain_s``; then end all others, and those that begin later."""
        await self._until_none(drain_s)
        self._ending = True
        for end in self._ends:
            end.reschedule(asyncio.get_running_loop().time())
        await self._until_none(END_TIMEOUT_S)

    async def _until_none(self, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._ends:
                    self._none.clear()
                    await self._none.wait()
