"""Ask the aggregator for the last sequence of a producer, until it answers."""

from __future__ import annotations

import asyncio
from random import Random

import grpc
import structlog

from marketdata.streams import FIRST_BACKOFF_S, MAX_BACKOFF_S
from marketdata.wire import market_data_pb2 as wire

log = structlog.get_logger()

GET_PRODUCER = "/marketdata.MarketDataService/GetProducer"
# An aggregator that takes longer is asked again.
TIMEOUT_S = 5.0


class ProducerLookup:
    """Call ``GetProducer`` of the aggregator.

    Args:
        channel: to the aggregator.
        random: the jitter between attempts.
    """

    def __init__(self, channel: grpc.aio.Channel, random: Random) -> None:
        self._get: grpc.aio.UnaryUnaryMultiCallable[
            wire.ProducerStateRequest, wire.ProducerState
        ] = channel.unary_unary(
            GET_PRODUCER,
            request_serializer=wire.ProducerStateRequest.SerializeToString,
            response_deserializer=wire.ProducerState.FromString,
        )
        self._random = random

    async def last_sequence(self, producer_id: str) -> int:
        """Return the last sequence that the aggregator has; 0: it does not know the producer.

        It waits for the aggregator as long as it takes.
        """
        request = wire.ProducerStateRequest(producer_id=producer_id)
        backoff_s = FIRST_BACKOFF_S
        while True:
            try:
                state = await self._get(request, timeout=TIMEOUT_S, wait_for_ready=True)
            except grpc.aio.AioRpcError as exc:
                log.debug("producer_lookup_failed", code=exc.code().name, details=exc.details())
            else:
                return state.last_sequence
            await asyncio.sleep(backoff_s * self._random.uniform(0.5, 1.0))
            backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)
