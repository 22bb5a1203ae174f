"""The call that answers reads over one open stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import grpc
from google.protobuf.message import DecodeError

from aggregator.rpc.calls import CANCELLATION_S, Calls, ShuttingDown
from aggregator.rpc.errors import Context, abort
from aggregator.rpc.malformed import refuse
from aggregator.rpc.symbols import TooManyAsked, normalize_all
from marketdata.errors import InvalidSymbol
from marketdata.wire import market_data_pb2 as wire

# Returns the states of symbols that have one, as in an UpdateBatch.
FindStates = Callable[[Iterable[str]], bytes]


class ReadCalls:
    """The handlers of ``ReadAggregates``; requests and responses are bytes.

    Args:
        find_states: reads the states.
    """

    def __init__(self, find_states: FindStates) -> None:
        self._find_states = find_states
        self._calls = Calls()

    async def serve(self, context: Context) -> None:
        """Answer each request in turn, until the reader ends the stream or :meth:`end` does."""
        try:
            async with self._calls.open():
                # A reader that does not take its responses is not read.
                while (request := await context.read()) is not grpc.aio.EOF:
                    await context.write(self._answer(request))
                await asyncio.sleep(CANCELLATION_S)
        except DecodeError:
            await refuse(context)
        except ShuttingDown as exc:
            await abort(context, exc)

    async def end(self) -> None:
        """End all calls, and those that begin later."""
        await self._calls.end(0)

    def _answer(self, data: bytes) -> bytes:
        request = wire.ReadRequest.FromString(data)
        try:
            symbols = normalize_all(request.symbols)
        except (InvalidSymbol, TooManyAsked) as exc:
            return wire.ReadResponse(id=request.id, problem=str(exc)).SerializeToString()
        # The states have the same field number there as in an UpdateBatch.
        return self._find_states(symbols) + wire.ReadResponse(id=request.id).SerializeToString()
