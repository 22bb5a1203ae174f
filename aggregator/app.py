"""Construct the aggregator; know what starts and stops in which order."""

from __future__ import annotations

import asyncio
import time

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from aggregator.book import Book
from aggregator.calendars import load_rules
from aggregator.feeds import Feeds
from aggregator.malformed import RefuseMalformed
from aggregator.market import Market
from aggregator.producers import Producers
from aggregator.service import MarketDataService, ShuttingDown
from aggregator.settings import AggregatorSettings
from aggregator.watchers import Watchers
from marketdata.addresses import check_address
from marketdata.channel import server_options
from marketdata.errors import AddressInUse
from marketdata.validation import TickRules
from marketdata.wire import market_data_pb2, market_data_pb2_grpc

log = structlog.get_logger()

# For calls in progress when every stream was told to end.
GRACE_S = 1.0

SERVICE_NAME = market_data_pb2.DESCRIPTOR.services_by_name["MarketDataService"].full_name


class Aggregator:
    """One running aggregator: its core, and the gRPC server around it."""

    def __init__(self, settings: AggregatorSettings) -> None:
        self._settings = settings
        rules = load_rules(
            settings.session, settings.calendars, anchored=settings.bar_anchor == "session"
        )
        book = Book(
            rule_for=rules.rule_for,
            max_symbols=settings.max_symbols,
            # Nothing of an earlier life is left, so its sequences must not be compared with ours.
            epoch=time.time_ns(),
        )
        self.feeds = Feeds(settings.live_within_s)
        self.watchers = Watchers(settings.max_symbols, book.state)
        self.market = Market(
            book, Producers(settings.max_producers), self.watchers, settings.max_future_skew_s
        )
        tick_rules = TickRules(
            timestamp_unit=settings.timestamp_unit, max_future_skew_s=settings.max_future_skew_s
        )
        self._service = MarketDataService(self.market, tick_rules, self.feeds)
        self._health = health_aio.HealthServicer()
        self._server = grpc.aio.server(
            interceptors=[RefuseMalformed()],
            options=server_options(settings.keepalive_s),
            maximum_concurrent_rpcs=settings.max_streams,
        )
        self.port = 0

    async def start(self) -> None:
        """Listen and say so.

        Raises:
            AddressInUse: the address is taken.
            StartError: the address is not one of this machine.
        """
        market_data_pb2_grpc.add_MarketDataServiceServicer_to_server(self._service, self._server)
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
        await self._server.start()
        for name in ["", *names]:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        log.info("aggregator listening", address=f"{host}:{self.port}")

    async def stop(self) -> None:
        """Say so to health checks, end the streams out, let producers finish, then close."""
        await self._health.enter_graceful_shutdown()
        self.watchers.end_all(ShuttingDown())
        await self._service.end_producers(self._settings.drain_s)
        await self._server.stop(GRACE_S)
        self._service.log_drops()
        market = self.market
        log.info(
            "aggregator stopped",
            symbols=len(market.book),
            accepted=market.accepted,
            duplicates=market.duplicates,
            late=market.book.late,
            out_of_session=market.book.out_of_session,
            rejected=dict(market.rejected),
        )


async def main(settings: AggregatorSettings, stop: asyncio.Event) -> int:
    """Run until ``stop`` is set; return the exit code."""
    aggregator = Aggregator(settings)
    await aggregator.start()
    await stop.wait()
    await aggregator.stop()
    return 0
