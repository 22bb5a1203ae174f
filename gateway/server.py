"""Accept connections: the listening socket, and uvicorn as we run it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import structlog
import uvicorn
from starlette.types import ASGIApp

from gateway.clients.direct import DirectWebSocket
from gateway.clients.plain_reads import PlainReadHttp11, Reads
from gateway.settings import GatewaySettings
from marketdata.acceptor import Acceptor
from marketdata.addresses import listen_error
from marketdata.summary import DropSummary

log = structlog.get_logger()

# Connections the kernel holds while the loop is busy; more are refused by it.
BACKLOG = 2048
# How much the kernel holds for a client that is not on its way. It would take megabytes, which a
# client that fell behind would have to read before it comes to the present.
UNSENT_BYTES = 64 * 1024
PING_TIMEOUT_S = 60.0
# Turns of the event loop until a connection that was accepted is read.
READ_TURNS = 3


class Server(uvicorn.Server):
    """Say when clients are accepted, and leave signals to the runtime.

    Args:
        app: serves the requests.
        settings: the timeouts and bounds.
        turn_away: see :class:`PlainReadHttp11`.
        reads: see there.
        is_allowed: see there.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: GatewaySettings,
        turn_away: Callable[[], int | None],
        *,
        reads: Reads | None = None,
        is_allowed: Callable[[str], bool] | None = None,
    ) -> None:
        super().__init__(_config(app, settings))
        self._request_timeout_s = settings.request_timeout_s
        self._closed = DropSummary(log, "connections_closed")
        self._turn_away = turn_away
        self._reads = reads
        self._is_allowed = is_allowed
        self._acceptors: list[Acceptor] = []
        self.accepting = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept, in our way instead of uvicorn's."""
        self._acceptors = [Acceptor(each, self._make_connection) for each in sockets or ()]
        for acceptor in self._acceptors:
            acceptor.start()
        # uvicorn closes them.
        self.servers = self._acceptors  # type: ignore[assignment]
        self.started = True
        self.accepting.set()

    def stop(self, requests_s: float) -> None:
        """Begin to stop; requests in progress may take so long."""
        # uvicorn passes it to asyncio, which takes fractions.
        self.config.timeout_graceful_shutdown = requests_s  # type: ignore[assignment]
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept those that have connected and no more, and finish the requests in progress."""
        for acceptor in self._acceptors:
            await acceptor.finish()
        for _ in range(READ_TURNS):
            # Requests that have arrived are read, and so are in progress.
            await asyncio.sleep(0)
        await super().shutdown(sockets)
        self._closed.flush()

    def _make_connection(self) -> PlainReadHttp11:
        return PlainReadHttp11(
            reads=self._reads,
            is_allowed=self._is_allowed,
            request_timeout_s=self._request_timeout_s,
            expired=lambda reason: self._closed.add({reason: 1}),
            turn_away=self._turn_away,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )

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


def _config(app: ASGIApp, settings: GatewaySettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        # Construction and order are those of gateway.app; uvicorn moves bytes.
        lifespan="off",
        http=PlainReadHttp11,
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
    )
