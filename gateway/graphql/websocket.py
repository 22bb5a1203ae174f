"""The door for GraphQL over a WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import orjson
import structlog
from graphql import GraphQLError
from starlette.websockets import WebSocket

from gateway.bucket import TokenBucket
from gateway.capacity import Capacity
from gateway.connection import INTERNAL_ERROR, Connection
from gateway.graphql.documents import Document
from gateway.graphql.errors import (
    SLOW_CONSUMER,
    TOO_MANY_OPERATIONS,
    FormattedErrors,
    RequestErrors,
    format_field_errors,
    format_our_error,
    format_request_errors,
)
from gateway.graphql.execution import Execution, Source, check_kind
from gateway.graphql.session import (
    SUBPROTOCOL,
    Complete,
    JsonObject,
    Session,
    Subscribe,
)
from gateway.handshake import OriginCheck
from gateway.hub.hub import FeedStatus, Hub, TooManySymbols
from gateway.hub.subscription import Subscription
from gateway.hub.updates import Delivery, Update
from gateway.outbox import BufferFull
from gateway.outlet import Outlet
from gateway.websocket import serve_websocket

log = structlog.get_logger()

# Ours, the same on every door: the client sends too often, or asks for more than it reads.
LIMIT_EXCEEDED = 4429
TOO_SLOW = 4490


@dataclass(frozen=True, slots=True)
class WebSocketLimits:
    """How much one client may do."""

    # Time for connection_init.
    init_timeout_s: float
    # Queries and subscriptions at the same time.
    max_operations: int
    message_rate: float
    message_burst: int


class _Following:
    """One subscription operation."""

    __slots__ = ("id", "last", "source", "told")

    def __init__(self, operation: str, source: Source) -> None:
        self.id = operation
        self.source = source
        self.last: Update | None = None
        # What the client knows about its data. It takes them for live unless told otherwise.
        self.told = FeedStatus.LIVE


class GraphQLWebSocket:
    """Serve one client: the handler of its connection, and the hub's subscriber."""

    def __init__(self, execution: Execution, hub: Hub, limits: WebSocketLimits) -> None:
        self._execution = execution
        self._hub = hub
        self._limits = limits
        self._session = Session()
        self._following: dict[Subscription, _Following] = {}
        # By the id of their operation.
        self._subscriptions: dict[str, Subscription] = {}
        self._queries: dict[str, asyncio.Task[None]] = {}

    # The connection

    def on_open(self, connection: Connection) -> None:
        """Wait for connection_init."""
        self._connection = connection
        self._outlet = Outlet(connection, self._deliver, self._overflow)
        loop = asyncio.get_running_loop()
        self._now = loop.time
        self._messages = TokenBucket(
            self._limits.message_rate, self._limits.message_burst, self._now()
        )
        self._timer = loop.call_later(self._limits.init_timeout_s, self._time_out)
        if connection.peer.subprotocol is None:
            self._session.refuse_subprotocol()
            self._settle()

    def on_message(self, message: str | bytes) -> None:
        """Apply the rules to one message, and do what it asks for."""
        if not self._messages.take(self._now()):
            reason = f"more than {self._limits.message_rate:g} messages per second"
            self._connection.close(LIMIT_EXCEEDED, reason)
            return
        event = self._session.receive_message(message)
        self._settle()
        if isinstance(event, Subscribe):
            self._begin(event)
        elif isinstance(event, Complete):
            self._stop(event.id)

    def on_drained(self) -> None:
        """Go on with what waited."""
        self._outlet.flush()
        self._tell_status()

    def on_close(self, code: int, reason: str) -> None:
        """Leave nothing behind."""
        self._timer.cancel()
        for operation in [*self._subscriptions, *self._queries]:
            self._stop(operation)

    # The hub

    def flush(self, subscriptions: Iterable[Subscription]) -> None:
        """Send what waits in ``subscriptions``."""
        self._outlet.flush(subscriptions)

    def on_status(self, status: FeedStatus) -> None:
        """Tell each subscription that its data became stale, or live again."""
        self._tell_status()

    # Operations

    def _begin(self, message: Subscribe) -> None:
        try:
            document = self._prepare(message)
            if document.kind == "subscription":
                self._follow(message.id, self._execution.subscribe(document, message.variables))
            else:
                run = self._run(message.id, document, message.variables)
                self._queries[message.id] = asyncio.create_task(run)
        except RequestErrors as exc:
            self._fail(message.id, format_request_errors(exc))
        except GraphQLError as exc:
            self._fail(message.id, format_field_errors([exc]))
        except TooManySymbols as exc:
            self._fail(message.id, [format_our_error(exc)])

    def _prepare(self, message: Subscribe) -> Document:
        # The new one is counted.
        if len(self._session.active) > self._limits.max_operations:
            error = GraphQLError(f"more than {self._limits.max_operations} operations at once")
            raise RequestErrors([error], TOO_MANY_OPERATIONS)
        documents = self._execution.documents
        document = documents.parse(message.query, message.operation_name)
        documents.validate(document)
        check_kind(document, "query", "subscription")
        return document

    def _follow(self, operation: str, source: Source) -> None:
        subscription = source.subscription
        try:
            self._hub.subscribe(subscription, self)
        except TooManySymbols:
            self._execution.release(source)
            raise
        self._following[subscription] = _Following(operation, source)
        self._subscriptions[operation] = subscription
        self._outlet.flush([subscription])
        self._tell_status()

    async def _run(self, operation: str, document: Document, variables: JsonObject | None) -> None:
        caller = self._connection.peer.address or ""
        try:
            response = await self._execution.run(document, variables, caller=caller)
            payload = orjson.dumps(response.to_dict()).decode()
            self._send(self._session.next(operation, payload))
            self._send(self._session.complete(operation))
        except RequestErrors as exc:
            self._fail(operation, format_request_errors(exc))
        except Exception:
            log.exception("graphql operation failed")
            self._connection.close(INTERNAL_ERROR, "Internal error")
        # Not after a cancellation: then the id may be another operation's.
        del self._queries[operation]

    def _stop(self, operation: str) -> None:
        query = self._queries.pop(operation, None)
        if query is not None:
            query.cancel()
        subscription = self._subscriptions.pop(operation, None)
        if subscription is not None:
            self._hub.unsubscribe(subscription)
            self._outlet.forget(subscription)
            self._execution.release(self._following.pop(subscription).source)

    def _fail(self, operation: str, errors: FormattedErrors) -> None:
        self._send(self._session.error(operation, errors))

    # Updates

    def _deliver(self, subscription: Subscription, delivery: Delivery) -> None:
        following = self._following[subscription]
        following.last = delivery.update
        extensions: dict[str, object] = {}
        if delivery.recovered is not None:
            extensions["recovered"] = delivery.recovered
        if delivery.conflated:
            extensions["conflated"] = delivery.conflated
        self._send_state(following, delivery.update, extensions)

    # A client that does not read is told once it does, if it is still true then.
    def _tell_status(self) -> None:
        status = self._hub.status
        for following in self._following.values():
            if following.told is not status and self._connection.writable:
                last = following.last
                if last is not None and status is FeedStatus.LIVE:
                    # A new life of the aggregator may know nothing of the symbol.
                    last = self._hub.latest(last.symbol)
                self._send_state(following, last, {})

    def _send_state(
        self, following: _Following, update: Update | None, extensions: dict[str, object]
    ) -> None:
        following.told = self._hub.status
        result = following.source.projection.encode(update)
        stated = orjson.dumps({"dataStatus": following.told, **extensions}).decode()
        payload = f'{{{result},"extensions":{stated}}}'
        self._send(self._session.next(following.id, payload))

    def _overflow(self, subscription: Subscription) -> None:
        operation = self._following[subscription].id
        self._stop(operation)
        error = GraphQLError("the subscriber reads too slowly for policy BUFFER")
        self._fail(operation, format_request_errors(RequestErrors([error], SLOW_CONSUMER)))

    # Sending

    def _settle(self) -> None:
        for message in self._session.messages_to_send():
            self._send(message)
        if self._session.closing is not None:
            self._connection.close(*self._session.closing)

    def _send(self, message: str) -> None:
        try:
            self._connection.send_nowait(message)
        except BufferFull as exc:
            self._connection.close(TOO_SLOW, str(exc))

    def _time_out(self) -> None:
        self._session.initialisation_timeout()
        self._settle()


async def serve_graphql_websocket(
    websocket: WebSocket,
    execution: Execution,
    hub: Hub,
    *,
    limits: WebSocketLimits,
    max_message_bytes: int,
    allow_origin: OriginCheck,
    capacity: Capacity,
) -> None:
    """Serve one client until it is gone."""
    await serve_websocket(
        websocket,
        partial(GraphQLWebSocket, execution, hub, limits),
        subprotocols=[SUBPROTOCOL],
        allow_origin=allow_origin,
        capacity=capacity,
        max_payload_bytes=max_message_bytes,
    )
