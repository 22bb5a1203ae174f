"""The services that the SockJS protocol tests need: on the product's code, never in the product."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from starlette.applications import Starlette

from gateway.clients.connection import Connection, ConnectionHandler
from gateway.clients.websocket import serve_websocket
from gateway.sockjs.app import SockJs, SockJsRoute
from gateway.sockjs.session import SessionLimits

# "The test server should have this limit decreased to 4096B."
RESPONSE_LIMIT = 4096
SOCKJS_URL = "/static/sockjs.min.js"
# Delays short enough to wait for.
BRISK = SessionLimits(disconnect_delay_s=0.2, heartbeat_s=0.1)
SUBPROTOCOLS = ("v12.stomp", "v11.stomp", "v10.stomp")


class Recorder:
    """A handler that keeps what happened to it."""

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.messages: list[str | bytes] = []
        self.overhead = 0
        self.drained = 0
        self.closed: list[tuple[int, str]] = []

    def on_open(self, connection: Connection) -> None:
        self.connection = connection

    def on_message(self, message: str | bytes) -> None:
        self.messages.append(message)

    def on_overhead(self, frames: int) -> None:
        self.overhead += frames

    def on_drained(self) -> None:
        self.drained += 1

    def on_close(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))


class Echo(Recorder):
    """Answer with identical data; for ``close CODE REASON``, close so."""

    def on_message(self, message: str | bytes) -> None:
        super().on_message(message)
        assert self.connection is not None
        if isinstance(message, str) and message.startswith("close "):
            _, code, reason = message.split(" ", 2)
            self.connection.close(int(code), reason)
        else:
            self.connection.send_nowait(message)


class Close(Recorder):
    """Close the session immediately."""

    def on_open(self, connection: Connection) -> None:
        super().on_open(connection)
        connection.close(3000, "Go away!")


class Broken(Recorder):
    """Fail at each message."""

    def on_message(self, message: str | bytes) -> None:
        raise RuntimeError(f"cannot take {message!r}")


class Harness:
    """The services, and every handler they made."""

    def __init__(self) -> None:
        self.handlers: list[Recorder] = []
        echo = self._made(Echo)
        close = self._made(Close)
        raw_echo = partial(serve_websocket, handler_factory=echo, subprotocols=SUBPROTOCOLS)
        raw_close = partial(serve_websocket, handler_factory=close)
        self.echo = SockJs(
            echo,
            sockjs_url=SOCKJS_URL,
            raw_websocket=raw_echo,
            subprotocols=SUBPROTOCOLS,
            response_limit=RESPONSE_LIMIT,
        )
        self.brisk = SockJs(
            echo, sockjs_url=SOCKJS_URL, limits=BRISK, max_sessions=2, max_payload_bytes=1000
        )
        self.services = {
            "/echo": self.echo,
            "/brisk": self.brisk,
            "/close": SockJs(close, sockjs_url=SOCKJS_URL, raw_websocket=raw_close),
            "/disabled_websocket_echo": SockJs(echo, sockjs_url=SOCKJS_URL, websocket=False),
            "/cookie_needed_echo": SockJs(echo, sockjs_url=SOCKJS_URL, cookie_needed=True),
            "/choosy": SockJs(
                echo,
                sockjs_url=SOCKJS_URL,
                raw_websocket=raw_echo,
                allow_origin=lambda origin, _: origin == "https://good.example",
            ),
            "/broken": SockJs(self._made(Broken), sockjs_url=SOCKJS_URL),
            "/a/b/echo": SockJs(echo, sockjs_url=SOCKJS_URL),
        }
        self.app = Starlette(
            routes=[SockJsRoute(prefix, service) for prefix, service in self.services.items()]
        )

    @property
    def session_count(self) -> int:
        return sum(service.session_count for service in self.services.values())

    def abort(self) -> None:
        for service in self.services.values():
            service.abort()

    def _made(self, handler_class: type[Recorder]) -> Callable[[], ConnectionHandler]:
        def make() -> ConnectionHandler:
            handler = handler_class()
            self.handlers.append(handler)
            return handler

        return make
