"""Keep one gRPC stream to another service open, again after every loss."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Protocol, TypeVar

import grpc

# Between streams; while there is no connection the channel itself waits, with jitter.
FIRST_BACKOFF_S = 0.05
MAX_BACKOFF_S = 2.0
CANCEL_AGAIN_S = 0.2

C = TypeVar("C", bound=grpc.aio.StreamStreamCall[Any, Any])
C_co = TypeVar("C_co", bound=grpc.aio.StreamStreamCall[Any, Any], covariant=True)


class StreamOver(Exception):
    """The other side ended the stream without an error."""


class OpenStream(Protocol[C_co]):
    """Open the stream; with ``wait_for_ready``, as soon as there is a connection."""

    def __call__(self, *, wait_for_ready: bool) -> C_co:
        """Return the call."""


async def keep_stream(
    open_stream: OpenStream[C],
    carry: Callable[[C], Awaitable[None]],
    lost: Callable[[grpc.StatusCode, str], None],
    random: Random,
) -> None:
    """Keep a stream open until cancelled.

    The server must send its initial metadata at once: they show that it accepted the stream.

    Args:
        open_stream: opens the stream.
        carry: works on an open stream until an error of gRPC or :class:`StreamOver` ends it.
        lost: called once when a stream ends, or the first cannot be opened; not again until
            another one was open.
        random: the jitter between attempts.
    """
    is_lost = False
    backoff_s = FIRST_BACKOFF_S
    while True:
        # While the peer is lost, gRPC waits for it.
        call = open_stream(wait_for_ready=is_lost)
        try:
            await _wait_until_accepted(call)
            is_lost = False
            backoff_s = FIRST_BACKOFF_S
            await carry(call)
        except* (grpc.aio.AioRpcError, asyncio.InvalidStateError, StreamOver):
            # InvalidStateError is a write on a call that has ended.
            pass
        finally:
            call.cancel()
            # Wait for its end, so that nothing of it is left.
            code, details = await call.code(), await call.details()
        if not is_lost:
            lost(code, details)
            is_lost = True
        await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))
        backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)


async def cancel_until_done(task: asyncio.Task[None]) -> None:
    """Cancel the task of a stream, and wait for its end.

    A task group whose task fails in the same turn hides a cancellation. So a stream that is lost
    just now would go on.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=CANCEL_AGAIN_S)


async def _wait_until_accepted(call: grpc.aio.StreamStreamCall[Any, Any]) -> None:
    await call.wait_for_connection()
    # A call that the server refuses has empty metadata, and is mostly not over before it is asked
    # for them.
    await call.initial_metadata()
    if call.done():
        raise StreamOver
