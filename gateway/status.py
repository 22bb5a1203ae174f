"""Report the status of the server: of this gateway and of the aggregator."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc

from gateway.backend.client import AggregatorClient
from gateway.clients.capacity import Capacity, Refusal
from gateway.hub.hub import Hub
from gateway.hub.updates import FeedStatus
from marketdata.timestamps import NS_PER_MS
from marketdata.wire.market_data_pb2 import FeedReport, StatusRequest, StatusResponse
from marketdata.wire.market_data_pb2 import FeedStatus as ProducerStatus

if TYPE_CHECKING:
    # The type of a stub on an asyncio channel; at run time there is no such class.
    from marketdata.wire.market_data_pb2_grpc import MarketDataServiceAsyncStub

OK = "ok"


class Status:
    """Read the status of the server.

    Args:
        stub: calls the aggregator without the circuit breaker, which would hide its status.
        client: has the circuit breaker.
        hub: has the live feed.
        capacity: counts the live clients of all endpoints.
        version: of this gateway.
        clock: seconds on a clock that never goes back.
        timeout_s: how long the aggregator may take.
    """

    def __init__(
        self,
        stub: MarketDataServiceAsyncStub,
        *,
        client: AggregatorClient,
        hub: Hub,
        capacity: Capacity,
        version: str,
        clock: Callable[[], float],
        timeout_s: float,
    ) -> None:
        self._stub = stub
        self._client = client
        self._hub = hub
        self._capacity = capacity
        self._version = version
        self._clock = clock
        self._timeout_s = timeout_s
        self._began = clock()

    async def read(self) -> dict[str, Any]:
        """Return the status as a JSON object."""
        aggregator = await self._read_aggregator()
        is_live = self._hub.status is FeedStatus.LIVE
        return {
            "status": OK if is_live and aggregator["status"] == OK else "degraded",
            "gateway": {
                "version": self._version,
                "uptimeS": int(self._clock() - self._began),
                "feed": str(self._hub.status),
                "breaker": str(self._client.breaker_state),
                "clients": self._capacity.count,
                "maxClients": self._capacity.limit,
                "refused": {
                    reason.value: str(self._capacity.refused[reason]) for reason in Refusal
                },
                "subscriptions": self._hub.subscriptions,
                "topics": self._hub.topics,
                "conflated": str(self._hub.conflated),
            },
            "aggregator": aggregator,
        }

    async def _read_aggregator(self) -> dict[str, Any]:
        try:
            answer = await self._stub.GetStatus(StatusRequest(), timeout=self._timeout_s)
        except grpc.aio.AioRpcError as exc:
            return {"status": exc.code().name}
        return {"status": OK, **status_to_dict(answer)}


def status_to_dict(status: StatusResponse) -> dict[str, Any]:
    """Return the JSON object of what the aggregator says; counts are decimal strings."""
    store, log = status.store, status.log
    return {
        "epoch": str(status.epoch),
        "symbols": status.symbols,
        "accepted": str(status.accepted),
        "duplicates": str(status.duplicates),
        "late": str(status.late),
        "barsLate": str(status.bars_late),
        "rejected": _counts(status.rejected),
        "intervals": list(status.intervals),
        "feeds": [_feed_to_dict(feed) for feed in status.feeds],
        "store": {
            "state": store.state or "off",
            "problem": store.problem or None,
            "waiting": str(store.waiting),
            "maxWaiting": str(store.max_waiting),
            "written": str(store.written),
            "lost": str(store.lost),
        },
        "log": {
            "state": log.state or "off",
            "problem": log.problem or None,
            "firstOffset": str(log.first_offset),
            "nextOffset": str(log.next_offset),
            "waitingBytes": str(log.waiting_bytes),
            "unsyncedBytes": str(log.unsynced_bytes),
            "checkpointOffset": str(log.checkpoint_offset),
            "checkpointTime": _milliseconds(log.checkpoint_time),
        },
    }


def _feed_to_dict(feed: ProducerStatus) -> dict[str, Any]:
    report: FeedReport = feed.report
    said = feed.HasField("report")
    return {
        "producerId": feed.producer_id,
        "connected": feed.connected,
        "producers": report.producers if said else None,
        "accepted": str(report.accepted) if said else None,
        "rejected": _counts(report.rejected) if said else None,
        "reportedAt": str(feed.reported_at // NS_PER_MS) if said else None,
    }


def _milliseconds(time_ns: int) -> str | None:
    return str(time_ns // NS_PER_MS) if time_ns else None


def _counts(counts: Any) -> dict[str, str]:
    return {reason: str(counts[reason]) for reason in sorted(counts)}
