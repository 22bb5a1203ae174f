"""The endpoint of GraphQL over a WebSocket."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

import orjson
from graphql import GraphQLError
from starlette.websockets import WebSocket

from gateway.clients.capacity import Capacity
from gateway.clients.farewell import SERVICE_RESTART, Farewell
from gateway.clients.handshake import OriginCheck
from gateway.clients.outbox import BufferFull
from gateway.clients.websocket import serve_websocket
from gateway.graphql.documents import Document
from gateway.graphql.errors import (
    CODES,
    SLOW_CONSUMER,
    TOO_MANY_OPERATIONS,
    FormattedErrors,
    RequestErrors,
    format_field_errors,
    format_our_error,
    format_request_errors,
)
from gateway.graphql.execution import Execution, Source, check_kind
from gateway.graphql.format import OperationFormat
from gateway.graphql.session import (
    SUBPROTOCOL,
    Complete,
    JsonObject,
    Session,
    Subscribe,
)
from gateway.hub.hub import TooManySymbols
from gateway.hub.subscription import Subscription
from gateway.live.session import LiveSession, Sessions, SubscriptionOverflow
from marketdata.errors import MarketDataError
from marketdata.intervals import InvalidInterval

# Ours, the same at every endpoint: the client sends too often, or asks for more than it reads.
LIMIT_EXCEEDED = 4429
TOO_SLOW = 4490


@dataclass(frozen=True, slots=True)
class WebSocketLimits:
    """What one client may do besides :class:`~gateway.live.session.LiveLimits`."""

    # Symbols named in its subscriptions, all together; about 0.5 KiB each.
    max_symbols: int = 5000


class GraphQLEndpoint:
    """All clients of graphql-transport-ws.

    Args:
        execution: runs their operations.
        sessions: what live sessions share.
        capacity: counts the live clients of all endpoints.
        allow_origin: says which pages may connect.
        limits: what one client may do.
    """

    def __init__(
        self,
        execution: Execution,
        sessions: Sessions,
        capacity: Capacity,
        *,
        allow_origin: OriginCheck,
        limits: WebSocketLimits,
    ) -> None:
        self.execution = execution
        self.sessions = sessions
        self.limits = limits
        self._capacity = capacity
        self._allow_origin = allow_origin

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one client until it is gone."""
        await serve_websocket(
            websocket,
            partial(GraphQLWebSocket, self),
            subprotocols=[SUBPROTOCOL],
            allow_origin=self._allow_origin,
            capacity=self._capacity,
            max_payload_bytes=self.sessions.limits.max_message_bytes,
            max_buffered_bytes=self.sessions.limits.client_buffer_bytes,
        )


class GraphQLWebSocket(LiveSession):
    """One client."""

    def __init__(self, endpoint: GraphQLEndpoint) -> None:
        super().__init__(endpoint.sessions)
        self._execution = endpoint.execution
        self._max_symbols = endpoint.limits.max_symbols
        self._session = Session()
        self._timer: asyncio.TimerHandle | None = None
        # Subscription operations by their id, their formats, and running queries by their id.
        self._sources: dict[str, Source] = {}
        self._operations: dict[Subscription, OperationFormat] = {}
        self._queries: dict[str, asyncio.Task[None]] = {}

    # The live session

    def begin(self) -> None:
        """Wait for connection_init."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._limits.first_message_timeout_s, self._time_out)
        if self.connection.peer.subprotocol is None:
            self._session.refuse_subprotocol()
            self._settle()

    def on_message(self, message: str | bytes) -> None:
        """Apply the rules to one message, and carry it out."""
        if not self._messages.take(self._now()):
            self.exceed_rate()
            return
        event = self._session.receive_message(message)
        self._settle()
        if isinstance(event, Subscribe):
            self._begin_operation(event)
        elif isinstance(event, Complete):
            self._stop(event.id)

    def exceed_rate(self) -> None:
        """End the connection of a client that sends too often."""
        self.end(LIMIT_EXCEEDED, f"more than {self._limits.message_rate:g} messages per second")

    def say_farewell(self, farewell: Farewell) -> None:
        """Close with the time to come back; ``complete`` would end operations for good."""
        self.end(SERVICE_RESTART, farewell.reason)

    def fail(self, error: MarketDataError, subscription: Subscription | None = None) -> None:
        """End the operation, or the connection of a client that does not read."""
        fmt = None if subscription is None else self._operations.get(subscription)
        if fmt is None or isinstance(error, BufferFull):
            self.end(TOO_SLOW, str(error))
            return
        self._stop(fmt.id)
        if isinstance(error, SubscriptionOverflow):
            slow = GraphQLError("the subscriber reads too slowly for policy BUFFER")
            self._refuse(fmt.id, format_request_errors(RequestErrors([slow], SLOW_CONSUMER)))
        else:
            self._refuse(fmt.id, [format_our_error(error)])

    def leave(self) -> None:
        """End all operations; nothing more is sent."""
        if self._timer is not None:
            self._timer.cancel()
        for operation in [*self._sources, *self._queries]:
            self._stop(operation)
        super().leave()

    def end(self, code: int, reason: str) -> None:
        """Close the connection after what was sent."""
        self.connection.close(code, reason)

    # Operations

    def _begin_operation(self, message: Subscribe) -> None:
        try:
            document = self._prepare(message)
            if document.kind == "subscription":
                self._follow(message.id, self._execution.subscribe(document, message.variables))
            else:
                run = self._run(message.id, document, message.variables)
                self._queries[message.id] = asyncio.create_task(run)
        except RequestErrors as exc:
            self._refuse(message.id, format_request_errors(exc))
        except GraphQLError as exc:
            self._refuse(message.id, format_field_errors([exc]))
        except (InvalidInterval, TooManySymbols) as exc:
            self._refuse(message.id, [format_our_error(exc)])

    def _prepare(self, message: Subscribe) -> Document:
        # The new one is counted.
        limit = self._limits.max_subscriptions
        if len(self._session.active) > limit:
            error = GraphQLError(f"more than {limit} operations at once")
            raise RequestErrors([error], TOO_MANY_OPERATIONS)
        documents = self._execution.documents
        document = documents.parse(message.query, message.operation_name)
        documents.validate(document)
        check_kind(document, "query", "subscription")
        return document

    def _follow(self, operation: str, source: Source) -> None:
        subscription = source.subscription
        fmt = OperationFormat(operation, subscription, source.projection, self._hub)
        try:
            self._check_symbols(subscription)
            self.subscribe(subscription, fmt)
        except (RequestErrors, InvalidInterval, TooManySymbols):
            self._execution.release(source)
            raise
        self._sources[operation] = source
        self._operations[subscription] = fmt
        self.tell_status(fmt)
        self.flush([subscription])

    def _check_symbols(self, subscription: Subscription) -> None:
        named = sum(len(each.symbols or ()) for each in (*self._operations, subscription))
        if named > self._max_symbols:
            error = GraphQLError(
                f"subscriptions to {named} symbols on one connection, limit is {self._max_symbols}"
            )
            raise RequestErrors([error], CODES[TooManySymbols])

    async def _run(self, operation: str, document: Document, variables: JsonObject | None) -> None:
        caller = self.connection.peer.address or ""
        try:
            response = await self._execution.run(document, variables, caller=caller)
            self.say(self._session.next(operation, orjson.dumps(response.to_dict())))
            self.say(self._session.complete(operation))
        except RequestErrors as exc:
            self._refuse(operation, format_request_errors(exc))
        except Exception:
            self._give_up()
        # Not after a cancellation: then the id may be another operation's. After a bug it is gone.
        self._queries.pop(operation, None)

    def _stop(self, operation: str) -> None:
        query = self._queries.pop(operation, None)
        # The task that found a bug ends by itself.
        if query is not None and query is not asyncio.current_task():
            query.cancel()
        source = self._sources.pop(operation, None)
        if source is not None:
            fmt = self._operations.pop(source.subscription)
            self.untell_status(fmt)
            self.unsubscribe(source.subscription)
            self._execution.release(source)

    def _refuse(self, operation: str, errors: FormattedErrors) -> None:
        self.say(self._session.error(operation, errors))

    # The connection

    def _settle(self) -> None:
        for message in self._session.messages_to_send():
            self.say(message)
        if self._session.closing is not None:
            self.end(*self._session.closing)

    def _time_out(self) -> None:
        self._session.initialisation_timeout()
        self._settle()
