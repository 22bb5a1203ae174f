"""A stream to another service that is kept open."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import grpc

from marketdata.streams import StreamOver, cancel_until_done, keep_stream

Call = grpc.aio.StreamStreamCall[bytes, bytes]
Context = grpc.aio.ServicerContext[bytes, bytes]


class Server:
    """Refuses so many streams, and accepts later ones."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals

    async def serve(self, _requests: AsyncIterator[bytes], context: Context) -> None:
        if self.refusals:
            self.refusals -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "stopping")
        await context.send_initial_metadata((("epoch", "7"),))
        await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def serving(server: Server) -> AsyncIterator[grpc.aio.Channel]:
    handlers: dict[str, Any] = {"Watch": grpc.stream_stream_rpc_method_handler(server.serve)}
    rpc: Any = grpc.aio.server()
    rpc.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    port = rpc.add_insecure_port("127.0.0.1:0")
    await rpc.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await rpc.stop(0)


async def test_a_stream_that_the_server_refuses_is_not_carried() -> None:
    server, epochs = Server(refusals=5), asyncio.Queue[list[tuple[str, object]]]()
    lost: list[str] = []

    async def carry(call: Call) -> None:
        epochs.put_nowait([*(await call.initial_metadata() or ())])
        await asyncio.Event().wait()

    async with serving(server) as channel:
        keeping = asyncio.create_task(
            keep_stream(
                channel.stream_stream("/test/Watch"),
                carry,
                lambda code, details: lost.append(f"{code.name} {details}"),
                Random(7),
            )
        )
        try:
            async with asyncio.timeout(60):
                assert await epochs.get() == [("epoch", "7")]
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
    assert server.refusals == 0
    # Told once.
    assert lost[0] == "UNAVAILABLE stopping"


async def test_a_cancellation_counts_that_comes_while_the_stream_ends() -> None:
    carried = 0
    is_carried = asyncio.Event()

    async def carry(_: Call) -> None:
        nonlocal carried
        carried += 1
        is_carried.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        # As a task group does whose other task fails in the same turn.
        if carried == 1:
            raise StreamOver
        raise asyncio.CancelledError

    async with serving(Server(refusals=0)) as channel:
        keeping = asyncio.create_task(
            keep_stream(
                channel.stream_stream("/test/Watch"), carry, lambda _code, _details: None, Random(1)
            )
        )
        await is_carried.wait()
        async with asyncio.timeout(5):
            await cancel_until_done(keeping)
        assert keeping.cancelled()
