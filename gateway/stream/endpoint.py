"""The stream endpoints: their addresses, over WebSocket and over SSE."""

from __future__ import annotations

from random import Random
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response, WebSocket

from gateway.bars.times import HELP
from gateway.clients.capacity import Capacity
from gateway.clients.handshake import OriginCheck, check_origin
from gateway.clients.websocket import serve_websocket
from gateway.errors import FieldError, InvalidInput
from gateway.hub.updates import Policy
from gateway.live.session import Sessions
from gateway.rest.schemas import ProblemBody
from gateway.stream.client import StreamClient
from gateway.stream.events import EventSession
from gateway.stream.messages import parse_wanted
from gateway.stream.plain import DEFAULT_SYMBOL, PlainSession
from gateway.stream.response import EventStreamConnection, EventStreamResponse
from gateway.stream.timed import TimedStreamSession
from marketdata.intervals import InvalidInterval

STREAM_PATH = "/api/v1/stream"
PLAIN_PATH = "/ws/marketdata"

# After a restart not all clients should come back in the same moment.
MIN_RETRY_MS = 1000
MAX_RETRY_MS = 3000


class StreamEndpoint:
    """Serve streams.

    Args:
        sessions: what live sessions share.
        capacity: counts the live clients of all endpoints.
        random: spreads the returns of clients.
        keepalive_s: silence after which an SSE client gets a comment.
        allow_origin: says which pages may open a WebSocket; None: all.
    """

    def __init__(
        self,
        sessions: Sessions,
        capacity: Capacity,
        *,
        random: Random,
        keepalive_s: float,
        allow_origin: OriginCheck | None = None,
    ) -> None:
        self._sessions = sessions
        self._capacity = capacity
        self._random = random
        self._keepalive_s = keepalive_s
        self._allow_origin = allow_origin
        self._event_streams: set[EventStreamConnection] = set()

    def stop(self) -> None:
        """Do nothing: streams end as all sessions do."""

    def abort(self) -> None:
        """Cut off the clients that do not read the end."""
        for connection in list(self._event_streams):
            connection.abort()

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter()
        router.add_api_websocket_route(PLAIN_PATH, self.serve_plain)
        router.add_api_websocket_route(STREAM_PATH, self.serve_stream)
        router.add_api_route(
            STREAM_PATH,
            self.get_events,
            methods=["GET"],
            tags=["live"],
            operation_id="streamMarketData",
            summary="The states of symbols, live, as server-sent events",
            response_class=EventStreamResponse,
            status_code=200,
            responses={
                200: {
                    "description": "Events `update`, `interval_complete`, `status` and `error`, "
                    "without an end. The "
                    "same address takes WebSocket clients.",
                    "content": {"text/event-stream": {"schema": {"type": "string"}}},
                },
                403: {
                    "model": ProblemBody,
                    "description": "A page of an origin that is not allowed asks.",
                },
                422: {
                    "model": ProblemBody,
                    "description": "A field of the request cannot be used; `errors` names it.",
                },
                503: {
                    "model": ProblemBody,
                    "description": "The client is not admitted: there are as many live clients as "
                    "there may be, or too many connect at the same time.",
                    "headers": {
                        "Retry-After": {
                            "description": "seconds until another try makes sense",
                            "schema": {"type": "integer", "minimum": 1},
                        }
                    },
                },
            },
        )
        return router

    async def serve_plain(self, websocket: WebSocket) -> None:
        """Serve the states of one symbol as bare JSON."""
        symbol = _query_of(websocket).get("symbol", [DEFAULT_SYMBOL])[-1]
        await self._serve(websocket, PlainSession(self._sessions, symbol))

    async def serve_stream(self, websocket: WebSocket) -> None:
        """Serve messages both ways."""
        await self._serve(websocket, TimedStreamSession(self._sessions, _query_of(websocket)))

    async def get_events(
        self,
        request: Request,
        *,
        symbols: Annotated[
            list[str],
            Query(
                description="comma-separated; `*`: every symbol, present and future",
                examples=[["AAPL", "MSFT"]],
            ),
        ],
        interval: Annotated[
            str,
            Query(description="such as `1m`: send the bars of it; empty: the aggregates"),
        ] = "",
        since: Annotated[
            str,
            Query(description=f"of bars: begin with the history from then on; {HELP}"),
        ] = "",
        policy: Annotated[
            Policy,
            Query(
                description="while you read slowly; conflate: only the newest state per symbol "
                "waits; buffer: every state waits, up to a bound, then the stream ends"
            ),
        ] = "conflate",
        last_event_id: Annotated[
            str,
            Query(
                alias="lastEventId",
                description="for clients that cannot set the header Last-Event-ID",
            ),
        ] = "",
        last_event_id_header: Annotated[
            str,
            Header(
                alias="Last-Event-ID",
                description="the id of the last event you saw; you get all that you missed, or a "
                "snapshot where that is not known",
            ),
        ] = "",
    ) -> Response:
        """Send the present state of each symbol, and then each later one."""
        check_origin(request, self._allow_origin)
        if interval:
            self._check_interval(interval)
        wanted = parse_wanted("symbols", symbols, self._sessions.limits.max_symbols)
        session = EventSession(
            self._sessions,
            symbols=wanted,
            policy=policy,
            # The header is newer: browsers keep the address and set it when they come back.
            last_event_id=last_event_id_header or last_event_id,
            retry_ms=self._random.randint(MIN_RETRY_MS, MAX_RETRY_MS),
            interval=interval,
            since=since,
        )
        return EventStreamResponse(
            lambda: session,
            capacity=self._capacity,
            connections=self._event_streams,
            keepalive_s=self._keepalive_s,
            max_buffered_bytes=self._sessions.limits.client_buffer_bytes,
        )

    def _check_interval(self, interval: str) -> None:
        # Before anything is sent there is a status to say it with.
        try:
            self._sessions.hub.check_interval(interval)
        except InvalidInterval as exc:
            raise InvalidInput([FieldError("interval", str(exc))]) from exc

    async def _serve(self, websocket: WebSocket, session: StreamClient) -> None:
        await serve_websocket(
            websocket,
            lambda: session,
            allow_origin=self._allow_origin,
            capacity=self._capacity,
            max_payload_bytes=self._sessions.limits.max_message_bytes,
            max_buffered_bytes=self._sessions.limits.client_buffer_bytes,
        )


def _query_of(websocket: WebSocket) -> dict[str, list[str]]:
    parameters = websocket.query_params
    return {name: parameters.getlist(name) for name in parameters}
