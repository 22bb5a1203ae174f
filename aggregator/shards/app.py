"""The front: several workers behind one port; what starts and stops in which order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from aggregator.app import GRACE_S, STORE_NAME
from aggregator.service import SERVICE_NAME
from aggregator.settings import AggregatorSettings
from aggregator.shards.fleet import Fleet
from aggregator.shards.front import FrontService
from aggregator.store.address import parse_store
from aggregator.store.database import STORE_ERRORS, Database
from aggregator.store.store import START_TIMEOUT_S
from marketdata.addresses import check_address
from marketdata.channel import server_options
from marketdata.errors import AddressInUse
from marketdata.validation import TickRules
from marketdata.warm import load_kernels

log = structlog.get_logger()


class Front:
    """One running aggregator that is several processes.

    ``on_failure`` is called once, when a worker has ended by itself; then :meth:`stop` it.
    """

    def __init__(
        self,
        settings: AggregatorSettings,
        on_failure: Callable[[], None],
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        # What must be compiled is compiled once.
        load_kernels()
        self._settings = settings
        # Nothing of an earlier life is left, so its sequences must not be compared with ours.
        self.fleet = Fleet(settings, time.time_ns(), on_failure, self._tell_store)
        rules = TickRules(
            timestamp_unit=settings.timestamp_unit, max_future_skew_s=settings.max_future_skew_s
        )
        self._service = FrontService(self.fleet, rules, clock, max_symbols=settings.max_symbols)
        self._health = health_aio.HealthServicer()
        self._server = grpc.aio.server(
            options=server_options(settings.keepalive_s),
            maximum_concurrent_rpcs=settings.max_streams,
        )
        # What is on its way to the health servicer.
        self._telling: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self) -> None:
        """Start the workers, then listen and say so.

        Raises:
            AddressInUse: the address is taken.
            StartError: the address is not one of this machine, or a worker cannot start.
        """
        self._server.add_generic_rpc_handlers((self._service.handlers(),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = [SERVICE_NAME, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name]
        reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], self._server)
        host, port = self._settings.host, self._settings.port
        # gRPC would write lines of its own to standard error.
        check_address(host, port)
        address = f"{host}:{port}"
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError as exc:
            raise AddressInUse(address) from exc
        await self._migrate()
        await self.fleet.crew.start()
        await self._server.start()
        for name in ["", *names]:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        workers = self._settings.workers
        log.info("aggregator listening", address=f"{host}:{self.port}", workers=workers)

    async def stop(self) -> int:
        """Say so to health checks, end the streams, let producers finish, end the workers.

        Returns the exit code: 1 if a worker failed.
        """
        settings, fleet = self._settings, self.fleet
        await self._health.enter_graceful_shutdown()
        await self._service.readers.end(0)
        # Without all workers there is nobody to finish for.
        await self._service.producers.end(0 if fleet.crew.failed else settings.drain_s)
        await self._server.stop(GRACE_S)
        code = await fleet.crew.stop(settings.store_drain_s)
        self._service.log_drops()
        await asyncio.gather(*self._telling)
        log.info(
            "aggregator stopped",
            symbols=len(fleet.splitter),
            accepted=fleet.merger.accepted,
            duplicates=fleet.splitter.duplicates,
            **fleet.total(),
            rejected=dict(fleet.merger.rejected),
            workers=settings.workers,
            code=code,
        )
        return code

    async def _migrate(self) -> None:
        # Once, before several could want to. A database that is away is the workers' to wait for.
        url = parse_store(self._settings.store)
        if url is None:
            return
        database = Database(url)
        with suppress(*STORE_ERRORS):
            async with asyncio.timeout(START_TIMEOUT_S):
                await database.migrate()
        with suppress(*STORE_ERRORS):
            await database.close()

    def _tell_store(self, works: bool) -> None:
        # The main service stays as it is: without a store the ticks flow.
        serving = health_pb2.HealthCheckResponse
        status = serving.SERVING if works else serving.NOT_SERVING
        task = asyncio.create_task(self._health.set(STORE_NAME, status))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)


async def main(settings: AggregatorSettings, stop: asyncio.Event) -> int:
    """Run until ``stop`` is set or a worker dies; return the exit code."""
    front = Front(settings, stop.set)
    starting = asyncio.create_task(front.start())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not starting.done():
        starting.cancel()
    try:
        # It raises what went wrong.
        with suppress(asyncio.CancelledError):
            await starting
        await stop.wait()
    finally:
        code = await front.stop()
    return code
