"""Construct the three services, start them and stop them in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

import structlog

import aggregator.app
import gateway.app
import ingest.app
from aggregator.app import Aggregator, make_interceptors
from gateway.app import running_gateway
from ingest.app import Ingest
from ingest.settings import IngestSettings
from marketdata.acceptor import allow_open_files
from marketdata.errors import StartError
from marketdata.inprocess import InProcessChannel, InProcessServer
from marketdata.runtime import collect_rarely
from standalone.log_names import PROGRAM, present
from standalone.settings import StandaloneSettings

log = structlog.get_logger()

# The aggregator alone needs nearly no full collection of garbage. Of the gateway, connections that
# were closed are cycles, 40 objects each, and those that were open for long are freed by a full one
# only. With this there is one for 6 million new objects.
COLLECTIONS = 30


async def main(settings: StandaloneSettings, stop: asyncio.Event) -> int:
    """Run all services until ``stop`` is set; return the exit code.

    Raises:
        StartError: a service cannot be started.
    """
    allow_open_files(
        ingest.app.open_files(settings.ingest)
        + aggregator.app.open_files(settings.aggregator)
        + gateway.app.open_files(settings.gateway)
    )
    # Each service can hand over what it holds to one that still runs.
    async with (
        running_aggregator(settings) as (server, aggregator_address),
        serving_clients(settings, server) as gateway_address,
    ):
        addresses = {"aggregator": aggregator_address, "gateway": gateway_address}
        result = await take_ticks(settings.ingest, server, stop, addresses)
    if isinstance(result, StartError):
        raise result
    return result


async def take_ticks(
    settings: IngestSettings,
    server: InProcessServer,
    stop: asyncio.Event,
    addresses: Mapping[str, str],
) -> int | StartError:
    """Run ingest until ``stop`` is set; return the exit code, or why it cannot be started.

    Args:
        settings: of ingest.
        server: the aggregator.
        stop: also set if ingest fails.
        addresses: of the services that run already.
    """
    present.set("ingest")
    producers = Ingest(settings, InProcessChannel(server, "ingest"))
    try:
        await producers.start(on_failure=stop.set)
    except StartError as exc:
        # Raised here, it would leave the gateway in a group of errors.
        return exc
    address = f"{settings.host}:{producers.listener.port}"
    log.info("ingest_listening", address=address)
    present.set(PROGRAM)
    collect_rarely(COLLECTIONS)
    log.info("standalone_ready", ingest=address, **addresses)
    try:
        await stop.wait()
    finally:
        present.set("ingest")
        code = await producers.stop()
    return code


@contextlib.asynccontextmanager
async def running_aggregator(
    settings: StandaloneSettings,
) -> AsyncIterator[tuple[InProcessServer, str]]:
    """Run the aggregator while the body runs; give it the server in this process, and the address.

    Raises:
        StartError: it cannot be started.
    """
    present.set("aggregator")
    server = InProcessServer(make_interceptors())
    aggregating = Aggregator(settings.aggregator, inprocess=server)
    await aggregating.start()
    try:
        yield server, f"{settings.aggregator.host}:{aggregating.port}"
    finally:
        present.set("aggregator")
        await aggregating.stop()


@contextlib.asynccontextmanager
async def serving_clients(
    settings: StandaloneSettings, server: InProcessServer
) -> AsyncIterator[str]:
    """Run the gateway while the body runs; give it the address.

    Raises:
        StartError: it cannot be started.
    """
    present.set("gateway")
    async with running_gateway(settings.gateway, InProcessChannel(server, "gateway")) as address:
        log.info("gateway_listening", address=address)
        try:
            yield address
        finally:
            present.set("gateway")
    log.info("gateway_stopped")
