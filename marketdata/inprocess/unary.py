"""A call with one message in each direction, which runs in the task that awaits it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any

import grpc

from marketdata.inprocess.calls import Parse, Serialize, error_of, parsed
from marketdata.inprocess.context import OK, Context
from marketdata.inprocess.exchange import Metadata, Status
from marketdata.inprocess.server import InProcessServer, TooLarge

_CANCELLED = Status(grpc.StatusCode.CANCELLED, "Locally cancelled by application!")


class UnaryUnaryCall(grpc.aio.UnaryUnaryCall[Any, Any]):
    """A call of a :class:`UnaryUnary`.

    The first ``await`` runs the handler, so a call that ends at once takes no turn of the event
    loop. Whatever else is asked of the call first begins it in a task.
    """

    def __init__(
        self,
        callee: UnaryUnary,
        request: Any,
        *,
        timeout_s: float | None,
        metadata: Metadata,
        wait_for_ready: bool,
    ) -> None:
        self._callee = callee
        self._request = request
        self._wait_for_ready = wait_for_ready
        self._loop = asyncio.get_running_loop()
        deadline = None if timeout_s is None else self._loop.time() + timeout_s
        self._deadline = deadline
        self._context = Context(metadata, callee.peer, deadline)
        self._is_begun = False
        self._is_cancelled = False
        self._end: asyncio.Timeout | None = None
        self._task: asyncio.Task[None] | None = None
        self._status: Status | None = None
        self._response: Any = None
        self._waiting: list[asyncio.Future[None]] = []
        self._callbacks: list[Callable[[Any], object]] = []

    def __await__(self) -> Generator[Any, None, Any]:
        return self._result().__await__()

    async def _result(self) -> Any:
        if self._is_begun:
            await self._finished()
        else:
            await self._run()
        self._raise_for_status()
        return self._response

    async def _run(self) -> None:
        self._is_begun = True
        if self._status is not None:
            return
        callee = self._callee
        request, serialize = self._request, callee.serialize
        data: bytes = request if serialize is None else serialize(request)
        callee.open.add(self)
        try:
            async with asyncio.timeout_at(self._deadline) as end:
                self._end = end
                await self._answer(data, end)
        except TimeoutError:
            self._finish(callee.server.ended(end))
        except asyncio.CancelledError:
            self._finish(_CANCELLED)
            raise
        finally:
            callee.open.discard(self)

    async def _answer(self, data: bytes, end: asyncio.Timeout) -> None:
        callee, server = self._callee, self._callee.server
        try:
            server.check_size(data)
        except TooLarge as exc:
            self._finish(Status(grpc.StatusCode.RESOURCE_EXHAUSTED, f"CLIENT: {exc}"))
            return
        if not server.is_running:
            if not self._wait_for_ready:
                self._finish(server.refusal)
                return
            await server.until_running()
        status, response = await server.answer(callee.method, data, self._context, end)
        if status.code is OK:
            self._response = parsed(response, callee.parse)
        self._finish(status)

    def _finish(self, status: Status) -> None:
        if self._status is not None:
            return
        self._status = status
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        for callback in self._callbacks:
            callback(self)

    def _raise_for_status(self) -> None:
        if self._is_cancelled:
            raise asyncio.CancelledError
        if self._status is not None and self._status.code is not OK:
            raise error_of(self._status, self._context.initial)

    async def _finished(self) -> Status:
        if not self._is_begun:
            self._is_begun = True
            self._task = self._loop.create_task(self._run())
        while self._status is None:
            waiting = self._loop.create_future()
            self._waiting.append(waiting)
            await waiting
        return self._status

    def cancel(self) -> bool:
        """End the call; return False if it has ended before."""
        if self._status is not None:
            return False
        self._is_cancelled = True
        self._finish(_CANCELLED)
        if self._end is not None:
            # Now, in the task that runs the handler.
            self._end.reschedule(0)
        return True

    def cancelled(self) -> bool:
        """Return whether the call was cancelled."""
        return self._status is not None and self._status.code is grpc.StatusCode.CANCELLED

    def done(self) -> bool:
        """Return whether the call has ended."""
        return self._status is not None

    def time_remaining(self) -> float | None:
        """Return the seconds until the deadline; None: there is none."""
        return None if self._deadline is None else max(0.0, self._deadline - self._loop.time())

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Call ``callback`` with this call when it has ended."""
        if self._status is not None:
            callback(self)
        else:
            self._callbacks.append(callback)

    async def initial_metadata(self) -> grpc.aio.Metadata:
        """Return the first metadata of the server, when the call has ended."""
        await self._finished()
        return grpc.aio.Metadata(*(self._context.initial or ()))

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        """Return the last metadata of the server, when the call has ended."""
        return grpc.aio.Metadata(*(await self._finished()).trailing_metadata)

    async def code(self) -> grpc.StatusCode:
        """Return the code of the status, when the call has ended."""
        return (await self._finished()).code

    async def details(self) -> str:
        """Return the text of the status, when the call has ended."""
        return (await self._finished()).details

    async def wait_for_connection(self) -> None:
        """Wait until the call has ended, as that of grpc.aio does.

        Raises:
            grpc.aio.AioRpcError: it has ended with an error.
        """
        await self._finished()
        self._raise_for_status()


class UnaryUnary(grpc.aio.UnaryUnaryMultiCallable[Any, Any]):
    """A method with one message in each direction.

    Args:
        method: its full name.
        server: has it.
        serialize: makes bytes of a request.
        parse: makes a response of bytes.
        peer: the name of the client.
        open: the calls in progress.
        check_open: raises if the channel is closed.
    """

    def __init__(
        self,
        method: str,
        server: InProcessServer,
        serialize: Serialize,
        parse: Parse,
        *,
        peer: str,
        open_calls: set[Any],
        check_open: Callable[[], None],
    ) -> None:
        self.method = method
        self.server = server
        self.serialize = serialize
        self.parse = parse
        self.peer = peer
        self.open = open_calls
        self._check_open = check_open

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> UnaryUnaryCall:
        """Return a call."""
        self._check_open()
        return UnaryUnaryCall(
            self,
            request,
            timeout_s=timeout,
            metadata=tuple(metadata or ()),
            wait_for_ready=bool(wait_for_ready),
        )
