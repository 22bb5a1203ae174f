"""Read states with a call for each read, as an aggregator of any version takes them."""

# ruff: noqa: ASYNC109  gRPC gives the name

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import grpc

from gateway.kernel.encoder import EncodedState, StateEncoder
from marketdata.wire.market_data_pb2 import AggregateRequest, AggregatesRequest

if TYPE_CHECKING:
    # The type of a stub on an asyncio channel; at run time there is no such class.
    from marketdata.wire.market_data_pb2_grpc import MarketDataServiceAsyncStub


class UnaryReads:
    """Call ``GetAggregate`` or ``GetAggregates``."""

    def __init__(self, stub: MarketDataServiceAsyncStub) -> None:
        self._stub = stub
        self._encoder = StateEncoder()

    async def __call__(self, symbols: Sequence[str], /, *, timeout: float) -> list[EncodedState]:
        """Return the states of those of ``symbols`` that have one.

        Raises:
            grpc.aio.AioRpcError: the call failed.
        """
        if len(symbols) == 1:
            try:
                request = AggregateRequest(symbol=symbols[0])
                found = [await self._stub.GetAggregate(request, timeout=timeout)]
            except grpc.aio.AioRpcError as exc:
                if exc.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
                return []
        else:
            several = AggregatesRequest(symbols=symbols)
            found = list((await self._stub.GetAggregates(several, timeout=timeout)).aggregates)
        return [self._encoder.encode_aggregate(each.SerializeToString()) for each in found]
