"""Check whether the aggregator serves."""

from __future__ import annotations

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub


class Readiness:
    """Know whether the gateway can answer with live data."""

    def __init__(self, channel: grpc.aio.Channel, *, timeout_s: float) -> None:
        # types-grpcio-health-checking leaves the RPCs out of the stub.
        self._check = HealthStub(channel).Check  # type: ignore[attr-defined]
        self._timeout_s = timeout_s

    async def check_aggregator(self) -> str:
        """Return ``ok``, or what is wrong with the aggregator."""
        try:
            answer = await self._check(HealthCheckRequest(), timeout=self._timeout_s)
        except grpc.aio.AioRpcError as exc:
            return exc.code().name
        if answer.status == HealthCheckResponse.SERVING:
            return "ok"
        return HealthCheckResponse.ServingStatus.Name(answer.status)
