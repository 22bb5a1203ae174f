"""Construct the aggregator; know what starts and stops in which order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from random import Random

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from aggregator.bar_watchers import BarWatchers
from aggregator.bars.bar import Coverage
from aggregator.bars.engine import BarEngine, CoverageRule
from aggregator.book import Book
from aggregator.close_timer import CloseTimer
from aggregator.history.reader import BarReader
from aggregator.malformed import RefuseMalformed
from aggregator.market import Market
from aggregator.producers import Producers
from aggregator.service import MarketDataService, ShuttingDown
from aggregator.sessions import SESSION_RULES
from aggregator.settings import AggregatorSettings
from aggregator.store.address import parse_store
from aggregator.store.database import Database
from aggregator.store.kept import read_retention
from aggregator.store.store import BarStore
from aggregator.undecoded import LeaveUndecoded
from aggregator.watchers import Watchers
from marketdata.addresses import check_address
from marketdata.channel import server_options
from marketdata.errors import AddressInUse
from marketdata.validation import TickRules
from marketdata.warm import load_kernels
from marketdata.wire import market_data_pb2, market_data_pb2_grpc

log = structlog.get_logger()

# For calls in progress when every stream was told to end.
GRACE_S = 1.0

SERVICE_NAME = market_data_pb2.DESCRIPTOR.services_by_name["MarketDataService"].full_name

# Half of what a tick costs would be to make a message of it.
UNDECODED = frozenset({f"/{SERVICE_NAME}/PublishTicks"})
# By this name the health service tells how the store is.
STORE_NAME = "store"

# The bars of every symbol by name, and what may wait of them for one slow Watch stream: at the end
# of an hour 100,000 symbols close four bars each.
MAX_TOPICS = 1_000_000
MAX_WAITING_BARS = 500_000


def _covered_since(began_ns: int) -> CoverageRule:
    # Nobody knows what came before we did.
    return lambda start, _end: Coverage.FULL if start >= began_ns else Coverage.PARTIAL


class Aggregator:
    """One running aggregator: its core, and the gRPC server around it."""

    def __init__(
        self, settings: AggregatorSettings, clock: Callable[[], int] = time.time_ns
    ) -> None:
        load_kernels()
        self._settings = settings
        rule = SESSION_RULES[settings.session]
        engine = BarEngine(settings.bar_plan(), lambda _symbol: rule, _covered_since(clock()))
        bar_watchers = engine.audience = BarWatchers(engine, MAX_TOPICS, MAX_WAITING_BARS)
        self._close_timer = CloseTimer(engine, clock)
        book = Book(
            engine,
            max_symbols=settings.max_symbols,
            # Nothing of an earlier life is left, so its sequences must not be compared with ours.
            epoch=time.time_ns(),
        )
        self.watchers = Watchers(settings.max_symbols, book.state, bar_watchers)
        self.store = _open_store(settings, self._tell_store)
        if self.store is not None:
            engine.sink = self.store
        reader = BarReader(
            engine,
            self.store,
            intervals={interval.name: interval for interval in engine.plan.intervals},
            hours=lambda _symbol: rule,
            coverage=_covered_since(clock()),
            epoch=book.epoch,
        )
        self.market = Market(
            book, Producers(settings.max_producers), self.watchers, settings.max_future_skew_s
        )
        rules = TickRules(
            timestamp_unit=settings.timestamp_unit, max_future_skew_s=settings.max_future_skew_s
        )
        self._service = MarketDataService(self.market, rules, reader, clock)
        self._clock = clock
        self._health = health_aio.HealthServicer()
        self._server = grpc.aio.server(
            interceptors=[RefuseMalformed(), LeaveUndecoded(UNDECODED)],
            options=server_options(settings.keepalive_s),
            maximum_concurrent_rpcs=settings.max_streams,
        )
        # What is on its way to the health servicer.
        self._telling: set[asyncio.Task[None]] = set()
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
        await self._restore()
        await self._server.start()
        self._close_timer.start()
        for name in ["", *names]:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        log.info("aggregator listening", address=f"{host}:{self.port}")

    async def stop(self) -> None:
        """Say so to health checks, end the streams out, let producers finish, then close."""
        await self._health.enter_graceful_shutdown()
        self.watchers.end_all(ShuttingDown())
        await self._service.end_producers(self._settings.drain_s)
        await self._server.stop(GRACE_S)
        self._close_timer.stop()
        self._service.log_drops()
        if self.store is not None:
            # What is still open goes on where it is now when we come back.
            left_open = self.market.book.engine.open_bars()
            await self.store.stop(self._settings.store_drain_s, left_open)
            await asyncio.gather(*self._telling)
        market = self.market
        log.info(
            "aggregator stopped",
            symbols=len(market.book),
            accepted=market.accepted,
            duplicates=market.duplicates,
            late=market.book.late,
            bars_late=market.book.engine.counts.bars_late,
            rejected=dict(market.rejected),
        )

    async def _restore(self) -> None:
        # Before the first tick: then open bars go on as if nothing had been.
        if self.store is None:
            return
        engine = self.market.book.engine
        plan = engine.plan
        await self.store.start()
        bars = await self.store.restore(plan.intervals, plan.revise_ns, plan.max_closed)
        engine.restore(bars, self._clock())
        if bars:
            log.info("bars restored", count=len(bars))

    def _tell_store(self, works: bool) -> None:
        # The main service stays as it is: without a store the ticks flow.
        serving = health_pb2.HealthCheckResponse
        status = serving.SERVING if works else serving.NOT_SERVING
        task = asyncio.create_task(self._health.set(STORE_NAME, status))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)


def _open_store(settings: AggregatorSettings, tell: Callable[[bool], None]) -> BarStore | None:
    url = parse_store(settings.store)
    if url is None:
        return None
    return BarStore(
        Database(url),
        max_waiting=settings.store_max_waiting,
        retention=read_retention(settings.retention),
        tell=tell,
        random=Random(),  # noqa: S311  it spreads the attempts
    )


async def main(settings: AggregatorSettings, stop: asyncio.Event) -> int:
    """Run until ``stop`` is set; return the exit code."""
    aggregator = Aggregator(settings)
    await aggregator.start()
    await stop.wait()
    await aggregator.stop()
    return 0
