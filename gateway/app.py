"""Construct the gateway, start it, stop it in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Protocol

import grpc
import structlog
import uvicorn
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.requests import HTTPConnection
from starlette.routing import Route
from starlette.types import ASGIApp

from gateway.backend.client import AggregatorClient
from gateway.backend.health import Readiness
from gateway.backend.together import ReadsTogether
from gateway.bars.joins import Joins
from gateway.clients.capacity import Capacity
from gateway.clients.direct import DirectWebSocket, this_turn
from gateway.clients.handshake import OriginCheck
from gateway.clients.head import HeadAsGet
from gateway.clients.http11 import Http11
from gateway.clients.origins import is_allowed, parse_origins
from gateway.graphql.app import install_graphql
from gateway.hub.history import History
from gateway.hub.hub import Hub
from gateway.hub.subscription import BufferLimits
from gateway.hub.upstream import Upstream
from gateway.pages import DASHBOARD_POLICY, Assets, Page
from gateway.rest.bars import router as bars_router
from gateway.rest.cors import Cors
from gateway.rest.openapi import install_openapi
from gateway.rest.paths import EncodedSlashes
from gateway.rest.problems import install_problems
from gateway.rest.reads import SymbolReads
from gateway.rest.routes import router
from gateway.rest.status import router as status_router
from gateway.settings import GatewaySettings
from gateway.status import Status
from gateway.stomp.session import SessionLimits
from gateway.stomp_door import SignalListener, StompDoor, StompLimits
from gateway.stream.door import StreamDoor
from gateway.stream.reader import StreamLimits, Streams
from gateway.webrtc.door import WebRtcDoor
from gateway.webrtc.info import webrtc_router
from gateway.webrtc.options import PeerLimits, PeerOptions
from gateway.webrtc.servers import parse_ice_servers
from marketdata.addresses import listen_error
from marketdata.channel import client_options
from marketdata.runtime import collect_rarely
from marketdata.wire.market_data_pb2_grpc import MarketDataServiceStub

log = structlog.get_logger()

# Connections the kernel holds while the loop is busy; more are refused by it.
BACKLOG = 2048
# What the kernel holds for a client beyond what is on its way. It would take megabytes, which a
# client that fell behind would have to read before it comes to the present.
UNSENT_BYTES = 64 * 1024
# How long live clients may take for the goodbye. It is one write for who reads, and one request for
# who polls; who does neither cannot be told.
GOODBYE_S = 1.0
# Files besides the sockets of live clients: the channel, logs, requests in progress.
OTHER_FILES = 1000
PING_TIMEOUT_S = 60.0
# A full collection looks at the whole history, and pauses every client for 60 ms. Nearly nothing
# needs one: what is sent is counted out, and only closed connections, 40 objects each, are cycles.
# Python's own thresholds gave 764 small and 6 full ones in a minute of load, these 22 and none.
COLLECTIONS = 3
# Where STOMP is, over WebSocket and SockJS.
STOMP_PREFIX = "/ws"
# What our pages load; `make assets` fills it, and without it only those pages lack something.
STATIC = Path(__file__).with_name("static")


class Door(Protocol):
    """What has live clients."""

    def stop(self) -> None:
        """Tell every client that the server stops, and take no more."""

    def abort(self) -> None:
        """End the clients that are left at once."""


async def main(settings: GatewaySettings, stop: asyncio.Event) -> int:
    """Run the gateway until ``stop`` is set; return the exit code.

    Raises:
        AddressInUse: another program listens on the port.
        StartError: the address cannot be listened on.
    """
    allow_open_files(settings.max_connections + OTHER_FILES)
    logging.basicConfig(handlers=[_ToStructlog()], level=logging.WARNING)
    async with running_gateway(settings) as address:
        collect_rarely(COLLECTIONS)
        log.info("gateway listening", address=address)
        await stop.wait()
    log.info("gateway stopped")
    return 0


@contextlib.asynccontextmanager
async def running_gateway(settings: GatewaySettings) -> AsyncIterator[str]:
    """Accept clients while the body runs, under the host:port it is given.

    At the end live clients are told and requests in progress get their answer, while no new clients
    are accepted; then the channel to the aggregator is closed.

    Args:
        settings: what an operator chose.

    Raises:
        AddressInUse: another program listens on the port.
        StartError: the address cannot be listened on.
    """
    with contextlib.closing(open_listener(settings.host, settings.port)) as listener:
        host, port = listener.getsockname()[:2]
        async with grpc.aio.insecure_channel(settings.aggregator, client_options()) as channel:
            hub = build_hub(settings)
            upstream = Upstream(
                MarketDataServiceStub(channel),
                hub,
                random=Random(),  # noqa: S311  jitter, not a secret
                write=this_turn().write,
            )
            doors: list[Door] = []
            async with asyncio.TaskGroup() as tasks:
                capacity = Capacity(settings.max_connections)
                app = build_app(settings, channel, hub, capacity, doors, tasks=tasks)
                server = _Server(_server_config(app, settings))
                feeding = tasks.create_task(upstream.run())
                serving = tasks.create_task(server.serve(sockets=[listener]))
                await server.accepting.wait()
                try:
                    yield f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
                finally:
                    await say_goodbye(capacity, doors)
                    server.should_exit = True
                    await serving
                    feeding.cancel()


def build_hub(settings: GatewaySettings) -> Hub:
    """Return the hub of all live doors."""
    return Hub(
        History(settings.resume_updates, settings.resume_window_s),
        linger_s=settings.resume_window_s,
        max_symbols=settings.max_followed_symbols,
        # The event loop's own clock, so that its timers can be armed at the hub's times.
        clock=time.monotonic,
    )


def build_streams(settings: GatewaySettings, hub: Hub, joins: Joins) -> Streams:
    """Return what the plain WebSocket and SSE doors stand on."""
    limits = StreamLimits(
        max_subscriptions=settings.max_subscriptions,
        max_symbols=settings.max_symbols_per_request,
        message_rate=settings.message_rate,
        message_burst=settings.message_burst,
        buffer=BufferLimits(settings.buffer_bytes, settings.buffer_age_s),
    )
    return Streams(hub, limits, time.monotonic, joins)


def allow_open_files(count: int) -> None:
    """Let this process have so many files and sockets open, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        log.warning("fewer clients fit than GATEWAY_MAX_CONNECTIONS", open_files=hard, needed=count)
        count = hard
    if soft != resource.RLIM_INFINITY and soft < count:
        # Many systems begin with 1024.
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


async def say_goodbye(capacity: Capacity, doors: Sequence[Door]) -> None:
    """End every live client; those that read are told."""
    capacity.close()
    for door in doors:
        door.stop()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GOODBYE_S):
            await capacity.wait_empty()
    for door in doors:
        door.abort()


def build_app(
    settings: GatewaySettings,
    channel: grpc.aio.Channel,
    hub: Hub,
    capacity: Capacity,
    doors: list[Door],
    *,
    tasks: asyncio.TaskGroup,
) -> ASGIApp:
    """Return the gateway as an ASGI application.

    Its live doors are added to ``doors``; what they run besides requests is in ``tasks``.
    """
    app: FastAPI = FastAPIOffline(
        title="Market data",
        version=version("market-data-server"),
        description="Open, high, low, close and volume of every symbol, live.",
        # ReDoc shows a logo from its maker's server; one page that needs no network is enough.
        redoc_url=None,
        # Else Swagger UI sends the document's address to a validator on the internet.
        swagger_ui_parameters={"validatorUrl": None},
        # A redirect would decode what stands encoded in the path; one spelling is enough.
        redirect_slashes=False,
    )
    app.state.settings = settings
    app.state.hub = hub
    # Every live door lets clients in through these two.
    app.state.capacity = capacity
    app.state.allow_origin = origin_check(settings)
    stub = MarketDataServiceStub(channel)
    app.state.client = AggregatorClient(stub, settings, clock=time.monotonic)
    # Every live door reads history through it.
    app.state.joins = joins = Joins(hub, app.state.client)
    app.state.readiness = Readiness(channel, timeout_s=settings.ready_timeout_s)
    app.state.status = Status(
        stub,
        client=app.state.client,
        hub=hub,
        capacity=capacity,
        version=app.version,
        clock=time.monotonic,
        timeout_s=settings.ready_timeout_s,
    )
    for each in (router, bars_router, status_router):
        app.include_router(each)
    streams = build_streams(settings, hub, joins)
    stream_door = StreamDoor(
        streams,
        capacity,
        random=Random(),  # noqa: S311  spreads clients, no secret
        keepalive_s=settings.sse_keepalive_s,
        max_message_bytes=settings.max_message_bytes,
        allow_origin=app.state.allow_origin,
    )
    doors.append(stream_door)
    app.include_router(stream_door.router())
    peer_options = build_peer_options(settings)
    peers = build_peers(settings, streams, capacity, tasks, peer_options)
    doors.append(peers)
    app.include_router(webrtc_router(peer_options))
    doors.append(install_graphql(app, STATIC))
    dashboard = Page(STATIC / "dashboard" / "index.html", "The dashboard", DASHBOARD_POLICY)
    app.router.routes.append(Route("/", dashboard.__call__))
    together = Page(STATIC / "dashboard" / "collab.html", "The page /collab", DASHBOARD_POLICY)
    app.router.routes.append(Route("/collab", together.__call__))
    app.mount("/static", Assets(directory=STATIC, check_dir=False))
    # Last, because it takes everything under its prefix that no other route has.
    stomp = build_stomp(
        *(settings, hub, capacity, joins),
        allow_origin=app.state.allow_origin,
        listener=peers,
    )
    doors.append(stomp)
    app.router.routes.append(stomp.route(STOMP_PREFIX))
    install_problems(app)
    install_openapi(app, max_symbols=settings.max_symbols_per_request)
    served: ASGIApp = SymbolReads(app, ReadsTogether(app.state.client, tasks))
    if origins := parse_origins(settings.allowed_origins):
        served = Cors(served, origins, sockjs_prefix=STOMP_PREFIX)
    return HeadAsGet(EncodedSlashes(served))


def build_stomp(
    settings: GatewaySettings,
    hub: Hub,
    capacity: Capacity,
    joins: Joins,
    *,
    allow_origin: OriginCheck,
    listener: SignalListener,
) -> StompDoor:
    """Return the door of STOMP over WebSocket and SockJS."""
    return StompDoor(
        hub,
        capacity,
        joins,
        allow_origin=allow_origin,
        listener=listener,
        limits=StompLimits(
            session=SessionLimits(max_subscriptions=settings.max_subscriptions),
            buffer=BufferLimits(settings.buffer_bytes, settings.buffer_age_s),
            message_rate=settings.message_rate,
            message_burst=settings.message_burst,
            signal_rate=settings.signal_rate,
            signal_burst=settings.signal_burst,
            max_message_bytes=settings.max_message_bytes,
        ),
    )


def build_peer_options(settings: GatewaySettings) -> PeerOptions:
    """Return how WebRTC peers connect."""
    # Where TCP clients cannot come from, peers cannot either.
    hosts = settings.webrtc_hosts or settings.host
    return PeerOptions(
        hosts=[host for each in hosts.split(",") if (host := each.strip())],
        ice_servers=parse_ice_servers(settings.webrtc_ice_servers),
        turn_username=settings.webrtc_turn_username,
        turn_password=settings.webrtc_turn_password,
        setup_timeout_s=settings.webrtc_setup_timeout_s,
        max_age_s=settings.webrtc_peer_age_s,
        max_message_bytes=settings.max_message_bytes,
    )


def build_peers(
    settings: GatewaySettings,
    streams: Streams,
    capacity: Capacity,
    tasks: asyncio.TaskGroup,
    options: PeerOptions,
) -> WebRtcDoor:
    """Return what answers the offers of signaling clients."""
    limits = PeerLimits(
        max_peers=settings.webrtc_max_peers,
        max_sdp_bytes=settings.webrtc_max_sdp_bytes,
        offer_rate=settings.webrtc_offer_rate,
        message_rate=settings.webrtc_message_rate,
    )
    return WebRtcDoor(streams, capacity, tasks, limits, options)


def origin_check(settings: GatewaySettings) -> OriginCheck:
    """Return what says whether pages of an origin may use the gateway."""
    allowed = parse_origins(settings.allowed_origins)

    def allow_origin(origin: str, connection: HTTPConnection) -> bool:
        return is_allowed(origin, connection.headers.get("host", ""), allowed)

    return allow_origin


def open_listener(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        AddressInUse: another program listens there.
        StartError: the address is not one of this machine, or not allowed.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio turns Nagle's algorithm off only where it is; else
    # every answer waits 40 ms for a delayed ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # A restarted gateway need not wait for the connections of the one before to time out.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets inherit it.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as exc:
        listener.close()
        raise listen_error(host, port, exc) from exc
    return listener


def _server_config(app: ASGIApp, settings: GatewaySettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        # Construction and order are this module's; uvicorn moves bytes.
        lifespan="off",
        http=Http11,
        # uvicorn's websockets-sansio passes Autobahn's tests, and this is built on it. Compressing
        # small frames costs more than it saves.
        ws=DirectWebSocket,
        ws_per_message_deflate=False,
        ws_max_size=settings.max_message_bytes,
        # Who does not read answers no pings either; with the newest states alone waiting it costs
        # little, so it has a while to come back.
        ws_ping_timeout=PING_TIMEOUT_S,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_graceful_shutdown=settings.shutdown_timeout_s,
    )


class _Server(uvicorn.Server):
    """Say when clients are accepted, and leave signals to the runtime."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.accepting = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.accepting.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _ToStructlog(logging.Handler):
    """Give what libraries log the form of our own lines."""

    def emit(self, record: logging.LogRecord) -> None:
        log.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)
