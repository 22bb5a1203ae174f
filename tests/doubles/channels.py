"""A service of test handlers, on a channel of gRPC and on one within the process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import grpc

from marketdata.channel import client_options, server_options
from marketdata.inprocess import InProcessChannel, InProcessServer

Kind = Literal["grpc", "inprocess"]

SERVICE = "test.Calls"
# So much may be on its way through a socket; within the process it is one message.
ON_THE_WAY = {"grpc": 64, "inprocess": 2}

unary_unary = grpc.unary_unary_rpc_method_handler
unary_stream = grpc.unary_stream_rpc_method_handler
stream_unary = grpc.stream_unary_rpc_method_handler
stream_stream = grpc.stream_stream_rpc_method_handler


@dataclass
class Side:
    """A channel and its server."""

    kind: Kind
    channel: Any
    server: Any

    def call(self, style: str, name: str, **options: Any) -> Any:
        """Return a method of the channel."""
        return getattr(self.channel, style)(f"/{SERVICE}/{name}", **options)


@contextlib.asynccontextmanager
async def serving(
    kind: Kind,
    handlers: Mapping[str, Any],
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
) -> AsyncIterator[Side]:
    """Serve handlers, and connect to them."""
    if kind == "grpc":
        server: Any = grpc.aio.server(interceptors=interceptors, options=server_options())
        port = server.add_insecure_port("127.0.0.1:0")
        channel: Any = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=client_options())
    else:
        server = InProcessServer(interceptors)
        channel = InProcessChannel(server, "test")
    server.add_registered_method_handlers(SERVICE, dict(handlers))
    await server.start()
    async with channel:
        try:
            async with asyncio.timeout(60):
                yield Side(kind, channel, server)
        finally:
            await server.stop(None)
