"""Run coroutines in the event loop of a thread, for callers without one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError, Future
from threading import Event, Lock, Thread
from typing import Any, TypeVar

from marketdata.client.errors import ClientClosed, ClientError

T = TypeVar("T")


class LoopThread:
    """An event loop in a daemon thread, which starts with the first call.

    Args:
        close: awaited in the loop when it stops.
    """

    def __init__(self, close: Callable[[], Awaitable[None]]) -> None:
        self._close = close
        self._lock = Lock()
        self._thread: Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._is_stopped = False

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of ``work``; a caller that is interrupted cancels it.

        Raises:
            ClientClosed: the loop was stopped, before the call or meanwhile.
        """
        future = self.submit(work)
        try:
            return future.result()
        except CancelledError as exc:
            raise ClientClosed from exc
        except BaseException:
            future.cancel()
            raise

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin ``work`` in the loop.

        Raises:
            ClientClosed: the loop was stopped.
        """
        # Within the lock, so that it comes before the end of the loop or not at all.
        with self._lock:
            if self._loop is None and not self._is_stopped:
                self._start()
            if self._loop is not None:
                return asyncio.run_coroutine_threadsafe(work, self._loop)
        work.close()
        if self._is_stopped:
            raise ClientClosed
        raise ClientError("the thread of the client did not start")

    def stop(self) -> None:
        """End the loop, and everything in it. Stopping twice does nothing."""
        self.abandon()
        if self._thread is not None:
            self._thread.join()

    def abandon(self) -> None:
        """Let the loop end soon."""
        with self._lock:
            self._is_stopped = True
            loop, stopping = self._loop, self._stopping
            self._loop = None
        if loop is not None and stopping is not None:
            loop.call_soon_threadsafe(stopping.set)

    def _start(self) -> None:
        started = Event()
        self._thread = Thread(
            target=self._serve, args=(started,), name="marketdata client", daemon=True
        )
        self._thread.start()
        started.wait()

    def _serve(self, started: Event) -> None:
        try:
            asyncio.run(self._main(started))
        finally:
            # Also if there was no event loop, because the program has too many open files.
            started.set()

    async def _main(self, started: Event) -> None:
        self._stopping = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        started.set()
        await self._stopping.wait()
        await self._close()
