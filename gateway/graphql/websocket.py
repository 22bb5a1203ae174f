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

from gateway.clients.bucket import TokenBucket
from gateway.clients.capacity import Capacity
from gateway.clients.connection import INTERNAL_ERROR, Connection
from gateway.clients.handshake import OriginCheck
from gateway.clients.outbox import BufferFull
from gateway.clients.outlet import Outlet
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
from gateway.graphql.session import (
    SUBPROTOCOL,
    Complete,
    JsonObject,
    Session,
    Subscribe,
)
from gateway.hub.hub import FeedStatus, Hub, TooManySymbols
from gateway.hub.subscription import Subscription
from gateway.hub.updates import Delivery, Update
from gateway.stream.reader import JoinHistory
from marketdata.errors import MarketDataError
from marketdata.intervals import InvalidInterval

log = structlog.get_logger()

# RFC 6455, 7.4.1.
GOING_AWAY = 1001
# Ours, the same on every door: the client sends too often, or asks for more than it reads.
LIMIT_EXCEEDED = 4429
TOO_SLOW = 4490


@dataclass(frozen=True, slots=True)
class WebSocketLimits:
    """How much one client may do."""

    # Time for connection_init.
    init_timeout_s: float = 10
    # Queries and subscriptions at the same time.
    max_operations: int = 1000
    # Symbols named in its subscriptions, all together; about 0.5 KiB each.
    max_symbols: int = 5000
    message_rate: float = 100
    message_burst: int = 2000
    max_message_bytes: int = 512 * 1024


class GraphQLDoor:
    """All clients of graphql-transport-ws.

    Args:
        execution: runs their operations.
        hub: gives the updates.
        capacity: counts the live clients of all doors.
        joins: reads the history that subscriptions begin with.
        allow_origin: says which pages may connect.
        limits: what one client may do.
    """

    def __init__(
        self,
        execution: Execution,
        hub: Hub,
        capacity: Capacity,
        *,
        joins: JoinHistory,
        allow_origin: OriginCheck,
        limits: WebSocketLimits,
    ) -> None:
        self.execution = execution
        self.hub = hub
        self.joins = joins
        self.limits = limits
        self.clients: set[GraphQLWebSocket] = set()
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
            max_payload_bytes=self.limits.max_message_bytes,
        )

    def stop(self) -> None:
        """Tell every client that the server stops."""
        for client in list(self.clients):
            client.end(GOING_AWAY, "the server stops")

    def abort(self) -> None:
        """Leave those that do not read to the server, which cuts them off."""


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

    def __init__(self, door: GraphQLDoor) -> None:
        self._door = door
        self._execution = door.execution
        self._hub = door.hub
        self._limits = door.limits
        self._session = Session()
        self._following: dict[Subscription, _Following] = {}
        # By the id of their operation.
        self._subscriptions: dict[str, Subscription] = {}
        self._queries: dict[str, asyncio.Task[None]] = {}

    # The connection

    def on_open(self, connection: Connection) -> None:
        """Wait for connection_init."""
        self._connection = connection
        self._door.clients.add(self)
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
            self.end(LIMIT_EXCEEDED, reason)
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
        self._door.clients.discard(self)
        self._timer.cancel()
        for operation in [*self._subscriptions, *self._queries]:
            self._stop(operation)

    # The hub

    def flush(self, subscriptions: Iterable[Subscription]) -> None:
        """Send what waits in ``subscriptions``."""
        try:
            self._outlet.flush(subscriptions)
        except Exception:
            self._give_up()

    def on_status(self, status: FeedStatus) -> None:
        """Tell each subscription that its data became stale, or live again."""
        try:
            self._tell_status()
        except Exception:
            self._give_up()

    # The door

    def end(self, code: int, reason: str) -> None:
        """Close the connection behind what was sent."""
        self._connection.close(code, reason)

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
        except (InvalidInterval, TooManySymbols) as exc:
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
            self._check_symbols(subscription)
            self._hub.subscribe(subscription, self)
        except (RequestErrors, InvalidInterval, TooManySymbols):
            self._execution.release(source)
            raise
        self._following[subscription] = _Following(operation, source)
        self._subscriptions[operation] = subscription
        self._door.joins.begin(subscription, self, partial(self._fail_history, operation))
        self._outlet.flush([subscription])
        self._tell_status()

    def _fail_history(self, operation: str, error: MarketDataError) -> None:
        self._stop(operation)
        self._fail(operation, [format_our_error(error)])

    def _check_symbols(self, subscription: Subscription) -> None:
        named = sum(len(each.symbols or ()) for each in (*self._following, subscription))
        if named > self._limits.max_symbols:
            error = GraphQLError(
                f"subscriptions to {named} symbols on one connection, "
                f"limit is {self._limits.max_symbols}"
            )
            raise RequestErrors([error], CODES[TooManySymbols])

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
            self._give_up()
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
        extensions: dict[str, object]
        if delivery.update.is_marker:
            extensions = {"intervalComplete": delivery.update.to_dict()}
            self._send_state(following, None, extensions)
            return
        following.last = delivery.update
        extensions = {}
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
                    last = self._hub.latest(last.topic)
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

    # At the edge of what is called for many clients, and of a task: a bug ends this client alone.
    def _give_up(self) -> None:
        log.exception("graphql client failed")
        self.end(INTERNAL_ERROR, "Internal error")

    # Sending

    def _settle(self) -> None:
        for message in self._session.messages_to_send():
            self._send(message)
        if self._session.closing is not None:
            self.end(*self._session.closing)

    def _send(self, message: str) -> None:
        try:
            self._connection.send_nowait(message)
        except BufferFull as exc:
            self.end(TOO_SLOW, str(exc))

    def _time_out(self) -> None:
        self._session.initialisation_timeout()
        self._settle()
