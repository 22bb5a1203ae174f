"""Construct the gateway, start it, stop it in order."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from random import Random

import grpc
import structlog
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.requests import HTTPConnection
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from gateway.backend.client import AggregatorClient
from gateway.backend.health import Readiness
from gateway.backend.read_stream import ReadStream, open_reads
from gateway.backend.together import ReadsTogether
from gateway.backend.unary_reads import UnaryReads
from gateway.bars.backfills import Backfills
from gateway.clients.capacity import Capacity
from gateway.clients.direct import this_turn
from gateway.clients.farewell import Returns
from gateway.clients.handshake import OriginCheck
from gateway.clients.head import HeadAsGet
from gateway.clients.hosts import HostCheck, host_check
from gateway.clients.origins import is_allowed, parse_origins
from gateway.ending import Endpoint, say_farewell
from gateway.graphql.app import install_graphql
from gateway.hub.history import History
from gateway.hub.hub import Hub
from gateway.hub.subscription import BufferLimits
from gateway.hub.upstream import Upstream, open_watch
from gateway.live.session import LiveLimits, Sessions
from gateway.pages import DASHBOARD_POLICY, Assets, Page, PagePolicies
from gateway.prefix import Proxied, WithRootPath
from gateway.rest.bars import router as bars_router
from gateway.rest.cors import Cors
from gateway.rest.docs import install_docs
from gateway.rest.openapi import install_openapi
from gateway.rest.paths import EncodedSlashes
from gateway.rest.problems import install_problems
from gateway.rest.reads import SymbolReads
from gateway.rest.routes import router as rest_router
from gateway.rest.views import router as views_router
from gateway.server import Server, open_listener
from gateway.settings import GatewaySettings
from gateway.status import Status
from gateway.stomp.endpoint import SignalListener, StompEndpoint, StompLimits
from gateway.stomp.protocol.session import SessionLimits
from gateway.stream.endpoint import StreamEndpoint
from gateway.webrtc.endpoint import WebRtcEndpoint
from gateway.webrtc.info import webrtc_router
from gateway.webrtc.options import PeerLimits, PeerOptions
from gateway.webrtc.servers import parse_ice_servers
from marketdata.acceptor import allow_open_files
from marketdata.channel import client_options
from marketdata.runtime import collect_rarely
from marketdata.streams import cancel_until_done
from marketdata.warm import load_kernels
from marketdata.wire.market_data_pb2_grpc import MarketDataServiceStub

log = structlog.get_logger()

# How long slow clients may take for the updates that wait for them; clients that read have
# everything after some milliseconds. And the shares of the shutdown deadline.
FLUSH_S = 3.0
FLUSH_SHARE = 0.25
REQUESTS_SHARE = 0.5
# Files besides the sockets of live clients: the channel, logs, requests in progress.
OTHER_FILES = 1000
# A full collection looks at the whole history, and pauses every client for 60 ms. Nearly nothing
# needs one: sent updates are freed by their count, and only closed connections, 40 objects each,
# are cycles. Python's own thresholds gave 764 small and 6 full ones in a minute of load, these 22
# and none.
COLLECTIONS = 3
# Where STOMP is, over WebSocket and SockJS.
STOMP_PREFIX = "/ws"
# The files of our pages; `make assets` fills it, and without it only the pages are missing.
STATIC = Path(__file__).with_name("static")


async def main(settings: GatewaySettings, stop: asyncio.Event) -> int:
    """Run the gateway until ``stop`` is set; return the exit code.

    Raises:
        AddressInUse: another program listens on the port.
        StartError: the address cannot be listened on.
    """
    allow_open_files(open_files(settings))
    async with running_gateway(settings) as address:
        collect_rarely(COLLECTIONS)
        log.info("gateway_listening", address=address)
        await stop.wait()
    log.info("gateway_stopped")
    return 0


def open_files(settings: GatewaySettings) -> int:
    """Return how many files and sockets a gateway may have open."""
    return settings.max_connections + OTHER_FILES


@contextlib.asynccontextmanager
async def running_gateway(
    settings: GatewaySettings, to_aggregator: grpc.aio.Channel | None = None
) -> AsyncIterator[str]:
    """Accept clients while the body runs, under the host:port it is given.

    At the end live clients get a farewell and requests in progress their answer, while no new
    clients are accepted; then the channel to the aggregator is closed.

    Args:
        settings: the operator's settings.
        to_aggregator: a channel; None: one to the address in the settings.

    Raises:
        AddressInUse: another program listens on the port.
        StartError: the address cannot be listened on.
    """
    load_kernels()
    with contextlib.closing(open_listener(settings.host, settings.port)) as listener:
        host, port = listener.getsockname()[:2]
        options = client_options(window_bytes=settings.aggregator_window_bytes)
        async with to_aggregator or grpc.aio.insecure_channel(
            settings.aggregator, options
        ) as channel:
            hub = build_hub(settings)
            # Jitter, not a secret.
            random = Random()  # noqa: S311
            upstream = Upstream(open_watch(channel), hub, random=random, turn=this_turn())
            returns = Returns(settings.reconnect_spread_s, random.uniform)
            capacity = Capacity(
                settings.max_connections,
                rate=settings.admission_rate,
                burst=settings.admission_burst,
                returns=returns,
            )
            stub = MarketDataServiceStub(channel)
            stream = ReadStream(open_reads(channel), UnaryReads(stub))
            client = AggregatorClient(stub, settings, clock=time.monotonic, stream=stream)
            sessions = build_sessions(settings, hub, client, returns)
            endpoints: list[Endpoint] = []
            async with asyncio.TaskGroup() as tasks:
                reads = ReadsTogether(client, tasks)
                app = build_app(
                    *(settings, channel, client, sessions, capacity),
                    reads=reads,
                    endpoints=endpoints,
                    tasks=tasks,
                )
                server = Server(
                    app,
                    settings,
                    capacity.turn_away,
                    reads=reads if reads_are_plain(settings) else None,
                    is_allowed=host_check(settings.allowed_hosts, settings.host),
                )
                feeding = tasks.create_task(upstream.run())
                reading = tasks.create_task(stream.run())
                serving = tasks.create_task(server.serve(sockets=[listener]))
                await server.accepting.wait()
                try:
                    yield f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
                finally:
                    deadline_s = settings.shutdown_deadline_s
                    # Not ready from now on.
                    capacity.close()
                    upstream.stop()
                    await cancel_until_done(feeding)
                    flush_s = min(FLUSH_S, FLUSH_SHARE * deadline_s)
                    await say_farewell(capacity, sessions, endpoints, flush_s)
                    server.stop(REQUESTS_SHARE * deadline_s)
                    await serving
                    await cancel_until_done(reading)


def build_app(
    settings: GatewaySettings,
    channel: grpc.aio.Channel,
    client: AggregatorClient,
    sessions: Sessions,
    capacity: Capacity,
    *,
    reads: ReadsTogether,
    endpoints: list[Endpoint],
    tasks: asyncio.TaskGroup,
) -> ASGIApp:
    """Return the gateway as an ASGI application.

    Endpoints with live clients are added to ``endpoints``; what they run besides requests is in
    ``tasks``.
    """
    allow_origin = origin_check(settings)
    peer_options = build_peer_options(settings)
    streams = build_streams(settings, sessions, capacity, allow_origin)
    peers = build_peers(settings, sessions, capacity, peer_options, tasks)
    stomp = build_stomp(settings, sessions, capacity, allow_origin, listener=peers)
    endpoints += [streams, peers, stomp]

    app = build_api()
    # The routes of REST and GraphQL find these in their requests.
    app.state.settings = settings
    app.state.client = client
    app.state.capacity = capacity
    app.state.allow_origin = allow_origin
    app.state.readiness = Readiness(
        channel, timeout_s=settings.ready_timeout_s, is_stopping=lambda: capacity.is_closed
    )
    app.state.status = Status(
        MarketDataServiceStub(channel),
        client=client,
        hub=sessions.hub,
        capacity=capacity,
        version=app.version,
        clock=time.monotonic,
        timeout_s=settings.ready_timeout_s,
    )
    for router in (
        rest_router,
        bars_router,
        views_router,
        streams.router(),
        webrtc_router(peer_options),
    ):
        app.include_router(router)
    install_graphql(app, sessions, STATIC)
    app.router.routes += [
        Route("/", build_page("index.html", "The dashboard").__call__),
        Route("/collab", build_page("collab.html", "The page /collab").__call__),
        Mount("/static", Assets(directory=STATIC, check_dir=False)),
        # Last, because it takes everything under its prefix that no other route has.
        stomp.route(STOMP_PREFIX),
    ]
    install_problems(app)
    install_docs(app)
    install_openapi(app, max_symbols=settings.max_symbols_per_request)
    pages = PagePolicies(WithRootPath(app))
    return wrap_app(SymbolReads(pages, reads), settings)


def reads_are_plain(settings: GatewaySettings) -> bool:
    """Return whether reads of one symbol may be answered without :func:`wrap_app`.

    Not with a rate limit, which the layers count and refuse, and not with origins of other sites,
    which all answers name.
    """
    return not settings.rate_limit and not parse_origins(settings.allowed_origins)


def wrap_app(app: ASGIApp, settings: GatewaySettings) -> ASGIApp:
    """Return ``app`` within what each request passes first; the last line is the outermost."""
    served = app
    if origins := parse_origins(settings.allowed_origins):
        served = Cors(served, origins, sockjs_prefix=STOMP_PREFIX)
    served = EncodedSlashes(served)
    allow_host = host_check(settings.allowed_hosts, settings.host)
    if allow_host is not None:
        served = HostCheck(served, allow_host)
    served = Proxied(served, trusted=settings.trusted_proxies, root_path=settings.root_path)
    return HeadAsGet(served)


def build_api() -> FastAPI:
    """Return the application without its routes."""
    app: FastAPI = FastAPIOffline(
        # install_docs serves it, with a Content-Security-Policy.
        docs_url=None,
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
    return app


def build_hub(settings: GatewaySettings) -> Hub:
    """Return the hub of all live endpoints."""
    return Hub(
        History(settings.resume_updates, settings.resume_window_s),
        linger_s=settings.resume_window_s,
        max_symbols=settings.max_followed_symbols,
        # The event loop's own clock, so that its timers can be armed at the hub's times.
        clock=time.monotonic,
    )


def build_sessions(
    settings: GatewaySettings, hub: Hub, client: AggregatorClient, returns: Returns
) -> Sessions:
    """Return the registry of live sessions."""
    limits = LiveLimits(
        max_subscriptions=settings.max_subscriptions,
        max_symbols=settings.max_symbols_per_request,
        message_rate=settings.message_rate,
        message_burst=settings.message_burst,
        first_message_timeout_s=settings.first_message_timeout_s,
        max_message_bytes=settings.max_message_bytes,
        client_buffer_bytes=settings.client_buffer_bytes,
        buffer=BufferLimits(settings.buffer_bytes, settings.buffer_age_s),
    )
    report_bug = partial(log.exception, "live_session_failed")
    return Sessions(
        hub,
        Backfills(hub, client),
        limits,
        time.monotonic,
        report_bug,
        time_ns=time.time_ns,
        returns=returns,
    )


def build_streams(
    settings: GatewaySettings, sessions: Sessions, capacity: Capacity, allow_origin: OriginCheck
) -> StreamEndpoint:
    """Return the endpoint of plain WebSockets and SSE."""
    return StreamEndpoint(
        sessions,
        capacity,
        random=Random(),  # noqa: S311  spreads clients, no secret
        keepalive_s=settings.sse_keepalive_s,
        allow_origin=allow_origin,
    )


def build_stomp(
    settings: GatewaySettings,
    sessions: Sessions,
    capacity: Capacity,
    allow_origin: OriginCheck,
    *,
    listener: SignalListener,
) -> StompEndpoint:
    """Return the endpoint of STOMP over WebSocket and SockJS."""
    limits = StompLimits(
        session=SessionLimits(
            max_subscriptions=settings.max_subscriptions,
            connect_timeout_s=settings.first_message_timeout_s,
        ),
        signal_rate=settings.signal_rate,
        signal_burst=settings.signal_burst,
        signal_byte_rate=settings.signal_byte_rate,
        signal_burst_bytes=settings.signal_burst_bytes,
    )
    return StompEndpoint(
        sessions, capacity, allow_origin=allow_origin, limits=limits, listener=listener
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
    sessions: Sessions,
    capacity: Capacity,
    options: PeerOptions,
    tasks: asyncio.TaskGroup,
) -> WebRtcEndpoint:
    """Return the endpoint that answers offers of signaling clients."""
    limits = PeerLimits(
        max_peers=settings.webrtc_max_peers,
        max_sdp_bytes=settings.webrtc_max_sdp_bytes,
        offer_rate=settings.webrtc_offer_rate,
        message_rate=settings.webrtc_message_rate,
    )
    return WebRtcEndpoint(sessions, capacity, tasks, limits, options)


def build_page(file: str, name: str) -> Page:
    """Return a page of the dashboard."""
    return Page(STATIC / "dashboard" / file, name, DASHBOARD_POLICY)


def origin_check(settings: GatewaySettings) -> OriginCheck:
    """Return the check whether pages of an origin may use the gateway."""
    allowed = parse_origins(settings.allowed_origins)

    def allow_origin(origin: str, connection: HTTPConnection) -> bool:
        return is_allowed(origin, connection.headers.get("host", ""), allowed)

    return allow_origin
