"""Accept connections: the listening socket, and uvicorn as we run it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
from collections.abc import Iterator

import structlog
import uvicorn
from starlette.types import ASGIApp

from gateway.clients.direct import DirectWebSocket
from gateway.clients.http11 import Http11
from gateway.settings import GatewaySettings
from marketdata.addresses import listen_error

log = structlog.get_logger()

# Connections the kernel holds while the loop is busy; more are refused by it.
BACKLOG = 2048
# How much the kernel holds for a client that is not on its way. It would take megabytes, which a
# client that fell behind would have to read before it comes to the present.
UNSENT_BYTES = 64 * 1024
PING_TIMEOUT_S = 60.0


class Server(uvicorn.Server):
    """Say when clients are accepted, and leave signals to the runtime."""

    def __init__(self, app: ASGIApp, settings: GatewaySettings) -> None:
        super().__init__(_config(app, settings))
        self.accepting = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept."""
        await super().startup(sockets)
        self.accepting.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


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


def allow_open_files(count: int) -> None:
    """Let this process have so many files and sockets open, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        log.warning("open_files_limited", open_files=hard, needed=count)
        count = hard
    if soft != resource.RLIM_INFINITY and soft < count:
        # Many systems begin with 1024.
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def log_libraries() -> None:
    """Log warnings of libraries as our own lines."""
    logging.basicConfig(handlers=[_ToStructlog()], level=logging.WARNING)


def _config(app: ASGIApp, settings: GatewaySettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        # Construction and order are those of gateway.app; uvicorn moves bytes.
        lifespan="off",
        http=Http11,
        # uvicorn's websockets-sansio passes Autobahn's tests, and this is built on it. Compressing
        # small frames costs more than it saves.
        ws=DirectWebSocket,
        ws_per_message_deflate=False,
        ws_max_size=settings.max_message_bytes,
        # A client that does not read answers no pings either; with the newest states alone waiting
        # it costs little, so it has a while to come back.
        ws_ping_timeout=PING_TIMEOUT_S,
        log_config=None,
        access_log=False,
        server_header=False,
        # gateway.prefix does it, together with the path prefix.
        proxy_headers=False,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=settings.shutdown_timeout_s,
    )


class _ToStructlog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        log.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)
