"""Check whether the aggregator serves."""

from __future__ import annotations

from collections.abc import Callable

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub


class Readiness:
    """Know whether the gateway can answer with live data."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        timeout_s: float,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        # types-grpcio-health-checking leaves the RPCs out of the stub.
        self._check = HealthStub(channel).Check  # type: ignore[attr-defined]
        self._timeout_s = timeout_s
        self._is_stopping = is_stopping

    async def check(self) -> dict[str, str]:
        """Return what the gateway needs, each with ``ok`` or what is wrong."""
        if self._is_stopping():
            # Said at once, so that no load balancer waits for it.
            return {"gateway": "stopping"}
        return {"aggregator": await self.check_aggregator()}

    async def check_aggregator(self) -> str:
        """Return ``ok``, or what is wrong with the aggregator."""
        try:
            answer = await self._check(HealthCheckRequest(), timeout=self._timeout_s)
        except grpc.aio.AioRpcError as exc:
            return exc.code().name
        if answer.status == HealthCheckResponse.SERVING:
            return "ok"
        return HealthCheckResponse.ServingStatus.Name(answer.status)
