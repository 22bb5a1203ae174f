"""Construct the aggregator, start it and stop it in order."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from aggregator.core import Core
from aggregator.rpc.calls import ShuttingDown
from aggregator.rpc.malformed import RefuseMalformed
from aggregator.rpc.reflection import enable_reflection
from aggregator.rpc.service import SERVICE_NAME, TAKES_BYTES, WRITES_BYTES
from aggregator.rpc.undecoded import LeaveUndecoded
from aggregator.runs.lifetime import Lifetime
from aggregator.settings import AggregatorSettings
from aggregator.ticklog.file_log import FileLog
from marketdata.acceptor import RESERVED_FILES, allow_open_files, open_files_limit
from marketdata.addresses import check_address
from marketdata.channel import server_options
from marketdata.errors import AddressInUse
from marketdata.inprocess import InProcessServer
from marketdata.runtime import collect_rarely
from marketdata.wire import market_data_pb2_grpc

log = structlog.get_logger()

# A full garbage collection visits every bar in memory and frees nothing, since bars form no cycles.
# Reads of 1,000 of 10 million stored bars took 36 ms (p99) with Python's thresholds, 11 with these.
COLLECTIONS = 1_000

# How long a thread that wants to run waits for another one. The thread of the log needs a moment
# before and after each write: with Python's 5 ms a record took 17.8 ms to be done beside a thread
# that was never idle, with this 3.1.
SWITCH_INTERVAL_S = 0.0005

# Files besides the sockets of clients: the store, libraries, the log.
OTHER_FILES = 200
# How long calls may go on after every producer was ended.
GRACE_S = 1.0

# The health service reports the store and the log under these names.
STORE_NAME = "store"
LOG_NAME = "log"


def make_interceptors() -> list[grpc.aio.ServerInterceptor]:
    """Return what every server of the RPCs needs."""
    return [
        RefuseMalformed(),
        LeaveUndecoded(requests=TAKES_BYTES, responses=WRITES_BYTES),
    ]


def open_files(settings: AggregatorSettings) -> int:
    """Return how many files and sockets an aggregator may have open."""
    return settings.max_streams + OTHER_FILES


class Aggregator:
    """One running aggregator: its core and its gRPC server.

    Args:
        settings: the operator's settings.
        clock: the wall clock in ns.
        skip_corrupt: leave damaged records of the log out; else they end the start.
        inprocess: serves the same RPCs to this process, with :func:`make_interceptors`.
    """

    def __init__(
        self,
        settings: AggregatorSettings,
        clock: Callable[[], int] = time.time_ns,
        *,
        skip_corrupt: bool = False,
        inprocess: InProcessServer | None = None,
    ) -> None:
        self._settings = settings
        max_connections = min(settings.max_streams, open_files_limit() - RESERVED_FILES)
        self._skip_corrupt = skip_corrupt
        self._core = Core(settings, clock, lambda works: self._tell(STORE_NAME, works))
        self._lifetime = Lifetime(self._core)
        self.feeds = self._core.feeds
        self.market = self._core.market
        self.watchers = self._core.watchers
        self.store = self._core.store
        self._service = self._core.service
        self._health = health_aio.HealthServicer()
        self._inprocess = inprocess
        self._server = grpc.aio.server(
            interceptors=make_interceptors(),
            options=server_options(
                settings.keepalive_s,
                connect_timeout_s=settings.connect_timeout_s,
                max_connections=max_connections,
            ),
            maximum_concurrent_rpcs=settings.max_streams,
        )
        # Reports on their way to the health servicer.
        self._telling: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self) -> None:
        """Load the last run's bars, listen, and report SERVING.

        Raises:
            AddressInUse: another process listens on the address.
            StartError: the address does not belong to this machine.
        """
        self._register(self._server)
        names = [SERVICE_NAME, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name]
        enable_reflection(names, self._server)
        host, port = self._settings.host, self._settings.port
        # Checked first: gRPC would write its own lines to standard error.
        check_address(host, port)
        address = f"{host}:{port}"
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError as exc:
            raise AddressInUse(address) from exc
        await self._lifetime.restore(self._open_log())
        await self._server.start()
        if self._inprocess is not None:
            self._register(self._inprocess)
            await self._inprocess.start()
        self._lifetime.start()
        for name in ["", *names]:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        log.info("aggregator_listening", address=f"{host}:{self.port}")

    async def stop(self) -> None:
        """Report NOT_SERVING, let producers finish, end the streams of updates, then close.

        The streams of updates end last, and each when it has everything that was published. A
        reader that takes longer than the grace is cut off.
        """
        await self._health.enter_graceful_shutdown()
        await self._service.producers.end(self._settings.drain_s)
        self.watchers.finish_all(ShuttingDown())
        await self._service.readers.end()
        if self._inprocess is not None:
            await self._inprocess.stop(GRACE_S)
        await self._server.stop(GRACE_S)
        await self._lifetime.stop()
        await asyncio.gather(*self._telling)
        market = self.market
        log.info(
            "aggregator_stopped",
            symbols=len(market.book),
            accepted=market.accepted,
            duplicates=market.duplicates,
            late=market.book.late,
            out_of_session=market.book.engine.counts.out_of_session,
            bars_late=market.book.engine.counts.bars_late,
            rejected=dict(market.rejected),
        )

    def _register(self, server: Any) -> None:
        market_data_pb2_grpc.add_MarketDataServiceServicer_to_server(self._service, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)

    def _open_log(self) -> FileLog | None:
        directory = self._settings.log_directory
        if directory is None:
            return None
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        tick_log = FileLog(
            directory,
            self._settings.log_options(),
            skip_corrupt=self._skip_corrupt,
            tell=lambda problem: self._tell(LOG_NAME, not problem),
        )
        self._tell(LOG_NAME, True)
        return tick_log

    def _tell(self, name: str, works: bool) -> None:
        # Only the status of this part changes: reads go on without it.
        serving = health_pb2.HealthCheckResponse
        status = serving.SERVING if works else serving.NOT_SERVING
        task = asyncio.create_task(self._health.set(name, status))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)


async def main(
    settings: AggregatorSettings, stop: asyncio.Event, *, skip_corrupt: bool = False
) -> int:
    """Run until ``stop`` is set; return the exit code."""
    collect_rarely(COLLECTIONS)
    allow_open_files(open_files(settings))
    aggregator = Aggregator(settings, skip_corrupt=skip_corrupt)
    await aggregator.start()
    await stop.wait()
    await aggregator.stop()
    return 0
