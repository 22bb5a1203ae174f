"""The SockJS 0.3.3 service of one prefix, as an ASGI application."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway import errors
from gateway.clients.capacity import Capacity
from gateway.clients.connection import HandlerFactory, Peer
from gateway.clients.handshake import (
    OriginCheck,
    check_origin,
    peer_of,
    select_subprotocol,
)
from gateway.clients.head import is_head
from gateway.clients.websocket import (
    ABNORMAL_CLOSURE,
    DEFAULT_MAX_PAYLOAD_BYTES,
    MESSAGE_TOO_BIG,
)
from gateway.prefix import prefix_of
from gateway.sockjs.connection import SockJsConnection
from gateway.sockjs.errors import (
    BrokenJsonEncoding,
    NotAdmitted,
    NotFound,
    OriginRefused,
    PayloadError,
    PayloadTimeout,
    PayloadTooLarge,
    SockJsError,
    TooManySessions,
    UnknownSession,
)
from gateway.sockjs.frames import FRAMINGS, Framing, check_callback
from gateway.sockjs.info import (
    GREETING,
    encode_iframe,
    encode_info,
    entity_tag,
    iframe_policy,
    session_cookie,
)
from gateway.sockjs.receiver import HttpReceiver, WebSocketReceiver, until_disconnect
from gateway.sockjs.responses import (
    HTML,
    JSON,
    NOT_CACHED,
    TEXT,
    cached_for_a_year,
    cors,
    method_not_allowed,
    preflight,
    refusal,
    upgrade_expected,
)
from gateway.sockjs.session import GO_AWAY, SessionLimits
from gateway.sockjs.urls import Page, SessionUrl, parse_path

# "By default we should close a streaming request every 128KiB messages was send."
DEFAULT_RESPONSE_LIMIT = 128 * 1024
# A session costs a few KiB when idle and SessionLimits.max_buffered_bytes at worst.
DEFAULT_MAX_SESSIONS = 10_000
# How long a receiver waits for the end of the one before it.
RELEASE_WAIT_S = 0.1
RELEASE_TRIES = 10
# How long a client may take to send the body of one request.
BODY_TIMEOUT_S = 10.0
# RFC 6455, 7.4.1: data not consistent with the type of the message.
INVALID_PAYLOAD = 1007

_METHODS = {
    "xhr_send": "POST",
    "jsonp_send": "POST",
    **{name: framing.method for name, framing in FRAMINGS.items()},
}


class SockJs:
    """Serve the SockJS protocol to one application.

    Args:
        handler_factory: Makes the application's handler of each new session.
        sockjs_url: The path under which this server has sockjs-client, for the iframe page.
        raw_websocket: Accepts and serves a WebSocket at the prefix itself and at
            ``/websocket``; None: neither takes one.
        subprotocols: What a session's WebSocket may select, in order of preference.
        websocket: Whether sessions may use WebSocket.
        cookie_needed: Whether a load balancer needs the JSESSIONID cookie.
        response_limit: Bytes after which a streaming response ends and the client asks anew.
        max_sessions: Sessions at one time, of all transports; a further one gets a 503.
        capacity: Counts the sessions together with the live clients of other endpoints.
        max_payload_bytes: The largest request body or WebSocket message.
        limits: Delays and buffers of each session.
        allow_origin: Says which pages may connect; None: all.
    """

    def __init__(
        self,
        handler_factory: HandlerFactory,
        *,
        sockjs_url: str,
        raw_websocket: Callable[[WebSocket], Awaitable[None]] | None = None,
        subprotocols: Sequence[str] = (),
        websocket: bool = True,
        cookie_needed: bool = False,
        response_limit: int = DEFAULT_RESPONSE_LIMIT,
        max_sessions: int = DEFAULT_MAX_SESSIONS,
        capacity: Capacity | None = None,
        max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES,
        limits: SessionLimits | None = None,
        allow_origin: OriginCheck | None = None,
    ) -> None:
        self._handler_factory = handler_factory
        # Checks it.
        encode_iframe(sockjs_url)
        self._sockjs_url = sockjs_url
        self._raw_websocket = raw_websocket
        self._subprotocols = subprotocols
        self._websocket = websocket
        self._cookie_needed = cookie_needed
        self._response_limit = response_limit
        self._max_sessions = max_sessions
        self._capacity = capacity
        self._max_payload_bytes = max_payload_bytes
        self._limits = limits or SessionLimits()
        self._allow_origin = allow_origin
        # "For WebSockets, as opposed to other transports, it is valid to reuse `session_id`",
        # so only the others are found by it.
        self._by_id: dict[str, SockJsConnection] = {}
        self._connections: set[SockJsConnection] = set()
        self._stopped = False
        # What was turned away, by reason.
        self.refused: Counter[str] = Counter()

    @property
    def session_count(self) -> int:
        """Sessions at this moment, of all transports."""
        return len(self._connections)

    def stop(self, code: int = GO_AWAY[0], reason: str = GO_AWAY[1]) -> None:
        """Take no more sessions and close those there are, once they have got what is queued.

        Within the disconnect delay they are all over, also those whose client does not read.
        """
        self._stopped = True
        for connection in list(self._connections):
            connection.close(code, reason)

    def abort(self, code: int = GO_AWAY[0], reason: str = GO_AWAY[1]) -> None:
        """Take no more sessions and end those there are at once."""
        self._stopped = True
        for connection in list(self._connections):
            connection.end(code, reason)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        target = parse_path(scope["path"].removeprefix(scope.get("root_path", "")))
        if scope["type"] == "websocket":
            websocket = WebSocket(scope, receive, send)
            try:
                await self._serve_websocket(websocket, target)
            except SockJsError as exc:
                self.refused[exc.reason] += 1
                await websocket.send_denial_response(refusal(exc))
            return
        request = Request(scope, receive, send)
        headers: dict[str, str] = {}
        try:
            response = (
                await self._serve_transport(request, target, headers, send)
                if isinstance(target, SessionUrl)
                else self._serve_page(request, target)
            )
        except SockJsError as exc:
            self.refused[exc.reason] += 1
            response = refusal(exc, headers)
        if response is not None:
            await response(scope, receive, send)

    # Pages

    def _serve_page(self, request: Request, page: Page | None) -> Response:
        if page is None or (page is Page.RAW_WEBSOCKET and self._raw_websocket is None):
            raise NotFound
        if page is Page.RAW_WEBSOCKET:
            return upgrade_expected(request)
        if page is Page.INFO:
            return self._serve_info(request)
        if request.method not in {"GET", "HEAD"}:
            return method_not_allowed("GET")
        if page is Page.GREETING:
            return Response(GREETING, headers=TEXT)
        return self._serve_iframe(request)

    def _serve_info(self, request: Request) -> Response:
        self._check_origin(request)
        if request.method == "OPTIONS":
            return preflight(cors(request), "GET")
        if request.method not in {"GET", "HEAD"}:
            return method_not_allowed("OPTIONS, GET")
        body = encode_info(
            websocket=self._websocket,
            cookie_needed=self._cookie_needed,
            entropy=secrets.randbits(32),
        )
        return Response(body, headers=JSON | NOT_CACHED | cors(request))

    def _serve_iframe(self, request: Request) -> Response:
        page = encode_iframe(prefix_of(request.scope) + self._sockjs_url)
        headers = {"ETag": entity_tag(page), "Content-Security-Policy": iframe_policy(page)}
        headers |= cached_for_a_year()
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(page, headers=HTML | headers)

    # Transports over HTTP

    async def _serve_transport(
        self, request: Request, url: SessionUrl, headers: dict[str, str], send: Send
    ) -> Response | None:
        # Adds to ``headers`` what a refusal has too. Returns None if the response was sent.
        if url.transport == "websocket" and self._websocket:
            return upgrade_expected(request)
        method = _METHODS.get(url.transport)
        if method is None:
            raise NotFound
        self._check_origin(request)
        headers |= cors(request)
        if self._cookie_needed:
            headers["Set-Cookie"] = session_cookie(request.headers.get("cookie", ""))
        if request.method == "OPTIONS":
            return preflight(headers, method)
        # HEAD, which elsewhere is GET without its body, would take messages that no client sees.
        if request.method != method or is_head(request.scope):
            return method_not_allowed(f"OPTIONS, {method}")
        headers |= NOT_CACHED
        if (framing := FRAMINGS.get(url.transport)) is not None:
            return await self._serve_receiver(request, url, framing, headers, send)
        return await self._serve_sender(request, url, headers)

    async def _serve_receiver(
        self,
        request: Request,
        url: SessionUrl,
        framing: Framing,
        headers: dict[str, str],
        send: Send,
    ) -> Response | None:
        needed = framing.needs_callback
        callback = check_callback(request.query_params.get("c")) if needed else ""
        connection = await self._find_free(url.session)
        if connection is None:
            connection = self._open(peer_of(request, url.transport), url.session)
        headers |= {
            "Content-Type": framing.content_type,
            # A script that a browser takes for something else could do harm.
            "X-Content-Type-Options": "nosniff",
            # nginx would hold frames back.
            "X-Accel-Buffering": "no",
        }
        if framing.content_type.startswith("text/html"):
            # Each frame is a script of its own.
            headers["Content-Security-Policy"] = "default-src 'none'; script-src 'unsafe-inline'"
        if (close_frame := connection.attach()) is not None:
            self.refused["another_connection"] += 1
            chunks = framing.encode_prelude(callback), framing.encode_frame(close_frame, callback)
            return StreamingResponse(filter(None, chunks), headers=headers)
        receiver = HttpReceiver(
            connection,
            send,
            framing=framing,
            callback=callback,
            headers=headers,
            limit=self._response_limit,
        )
        await connection.deliver(receiver.begin, receiver.write, partial(until_disconnect, request))
        return None

    async def _find_free(self, session_id: str) -> SockJsConnection | None:
        # Returns the session, free for a receiver if it becomes so soon. A client that cut its poll
        # off and asks again may be heard before the end of the first connection.
        for _ in range(RELEASE_TRIES):
            connection = self._by_id.get(session_id)
            if connection is None or not connection.is_taken:
                break
            await asyncio.sleep(RELEASE_WAIT_S / RELEASE_TRIES)
        return self._by_id.get(session_id)

    async def _serve_sender(
        self, request: Request, url: SessionUrl, headers: dict[str, str]
    ) -> Response:
        connection = self._by_id.get(url.session)
        if connection is None:
            raise UnknownSession
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await self._read_body(request)
        except TimeoutError as exc:
            raise PayloadTimeout(BODY_TIMEOUT_S) from exc
        except ClientDisconnect:
            # The client is gone, and does not read the response.
            return Response(status_code=400)
        is_jsonp = url.transport == "jsonp_send"
        connection.receive(_form_payload(body) if is_jsonp and _is_form(request) else body)
        if is_jsonp:
            # "Konqueror does weird things on 204."
            return Response(b"ok", headers=headers | TEXT)
        # "Firefox/Firebug assumes that the content type is xml and shouts about it."
        return Response(status_code=204, headers=headers | TEXT)

    async def _read_body(self, request: Request) -> bytes:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._max_payload_bytes:
                raise PayloadTooLarge(self._max_payload_bytes)
        return bytes(body)

    # WebSocket

    async def _serve_websocket(
        self, websocket: WebSocket, target: Page | SessionUrl | None
    ) -> None:
        # Raises a SockJsError only before the handshake is answered.
        self._check_origin(websocket)
        is_raw = target in {Page.GREETING, Page.RAW_WEBSOCKET}
        if is_raw and self._raw_websocket is not None:
            await self._raw_websocket(websocket)
        elif isinstance(target, SessionUrl) and target.transport == "websocket" and self._websocket:
            await self._serve_session_websocket(websocket)
        else:
            raise NotFound

    async def _serve_session_websocket(self, websocket: WebSocket) -> None:
        offered = websocket.scope.get("subprotocols", ())
        subprotocol = select_subprotocol(offered, self._subprotocols)
        connection = self._open(peer_of(websocket, "websocket", subprotocol))
        connection.attach()
        try:
            await websocket.accept(subprotocol)
        except WebSocketDisconnect:
            connection.end(ABNORMAL_CLOSURE, "")
            return
        receiver = WebSocketReceiver(websocket, connection)
        connection.deliver_to(receiver)
        receiver.hand_over(partial(self._receive, connection))

    def _receive(self, connection: SockJsConnection, message: str | bytes) -> None:
        if len(message) > self._max_payload_bytes:
            self.refused[PayloadTooLarge.reason] += 1
            connection.end(MESSAGE_TOO_BIG, str(PayloadTooLarge(self._max_payload_bytes)))
            return
        try:
            # "Server must ignore empty messages."
            if message:
                connection.receive(message, single_allowed=True)
            else:
                connection.count_overhead(1)
        except PayloadError as exc:
            # "When user sends broken data the server must abruptly terminate the connection."
            self.refused[exc.reason] += 1
            connection.end(INVALID_PAYLOAD, str(exc))

    # Sessions

    def _open(self, peer: Peer, session_id: str | None = None) -> SockJsConnection:
        if self._stopped or len(self._connections) >= self._max_sessions:
            raise TooManySessions(self._max_sessions)
        if self._capacity is not None and not self._capacity.try_enter():
            raise NotAdmitted(self._capacity.explain_refusal(), self._capacity.retry_after_s())

        def on_end(connection: SockJsConnection) -> None:
            if connection not in self._connections:
                return
            self._connections.discard(connection)
            if self._capacity is not None:
                self._capacity.leave()
            if session_id is not None and self._by_id.get(session_id) is connection:
                del self._by_id[session_id]

        connection = SockJsConnection(self._handler_factory, peer, self._limits, on_end)
        self._connections.add(connection)
        if session_id is not None:
            self._by_id[session_id] = connection
        connection.open()
        return connection

    def _check_origin(self, connection: Request | WebSocket) -> None:
        try:
            check_origin(connection, self._allow_origin)
        except errors.OriginRefused as exc:
            raise OriginRefused(str(exc)) from exc


class SockJsRoute(BaseRoute):
    """Route a prefix, with and without a slash at its end, to a :class:`SockJs`.

    Starlette's own Mount would redirect the prefix without the slash, which is both the
    greeting and, for plain WebSockets, the address of the service.
    """

    def __init__(self, prefix: str, app: SockJs) -> None:
        if not prefix.startswith("/") or prefix.endswith("/"):
            raise ValueError(f"prefix {prefix!r} must begin with a slash and not end with one")
        self.path = prefix
        self.app = app

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match everything under the prefix."""
        if scope["type"] not in {"http", "websocket"}:
            return Match.NONE, {}
        root_path = scope.get("root_path", "")
        path = scope["path"].removeprefix(root_path)
        if path != self.path and not path.startswith(self.path + "/"):
            return Match.NONE, {}
        return Match.FULL, {"root_path": root_path + self.path, "endpoint": self.app}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve what matched."""
        await self.app(scope, receive, send)


def _is_form(request: Request) -> bool:
    content_type = request.headers.get("content-type", "").lower()
    return content_type.startswith("application/x-www-form-urlencoded")


def _form_payload(body: bytes) -> str:
    # Returns the field ``d``, empty if it is missing.
    try:
        fields = parse_qs(body.decode(), errors="strict", max_num_fields=16)
    # Bad UTF-8, and too many fields.
    except ValueError as exc:
        raise BrokenJsonEncoding from exc
    return fields.get("d", [""])[0]
