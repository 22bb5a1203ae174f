"""Run documents against the schema: queries once, subscriptions once per update."""

from __future__ import annotations

import asyncio
import inspect
from collections import OrderedDict
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, cast

import orjson
from graphql import (
    ExecutionResult,
    Executor,
    GraphQLError,
    GraphQLSchema,
    create_source_event_stream,
    execute_root_selection_set,
    execute_subscription_event,
)

from gateway.backend.client import AggregatorClient, DataStatus
from gateway.graphql.documents import Document, Documents
from gateway.graphql.errors import (
    BAD_USER_INPUT,
    VALIDATION_FAILED,
    FormattedErrors,
    RequestErrors,
    format_field_errors,
)
from gateway.graphql.reader import Reader
from gateway.graphql.schema import Context, Feed
from gateway.graphql.selection import PlainSelection, find_plain_selection
from gateway.hub.subscription import BufferLimits, Subscription
from gateway.hub.updates import AggregateUpdate, Update

Variables = dict[str, Any] | None

# Encodings kept for the subscribers of one selection: as many updates as arrive at once and go to
# each of them in turn.
_KEPT_ENCODINGS = 64


@dataclass(frozen=True, slots=True)
class Response:
    """The response to an operation that was run."""

    data: dict[str, Any] | None
    errors: FormattedErrors
    extensions: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the response in the form of the specification."""
        response: dict[str, Any] = {"data": self.data}
        if self.errors:
            # "it may be helpful to have it appear first", says the specification.
            response = {"errors": self.errors, **response}
        if self.extensions:
            response["extensions"] = self.extensions
        return response


class Projection:
    """Encode updates for one selection.

    Subscribers with the same selection share one, so that each update is encoded once for all of
    them.

    """

    def __init__(self, executor: Executor[Context], plain: PlainSelection | None = None) -> None:
        self._executor = executor
        self._plain = plain
        self._encoded: OrderedDict[Update | None, bytes] = OrderedDict()
        # How many subscribers share it; with one there is nothing to keep.
        self.users = 0

    def encode(self, update: Update | None) -> bytes:
        """Return ``"data":...``, and ``,"errors":...`` if there are any; None: nothing known."""
        encoded = self._encoded.get(update)
        if encoded is None:
            encoded = self._encode(update)
            if self.users > 1:
                self._encoded[update] = encoded
                if len(self._encoded) > _KEPT_ENCODINGS:
                    self._encoded.popitem(last=False)
        return encoded

    def _encode(self, update: Update | None) -> bytes:
        event = None if update is None else update.to_dict()
        if self._plain is not None and event is not None and isinstance(update, AggregateUpdate):
            plain = self._plain.encode(event)
            if plain is not None:
                return plain
        # No field of an aggregate waits for anything.
        result = cast(
            "ExecutionResult",
            execute_subscription_event(self._executor.build_per_event_executor(event)),
        )
        encoded = b'"data":%b' % orjson.dumps(result.data)
        if result.errors:
            encoded += b',"errors":%b' % orjson.dumps(format_field_errors(result.errors))
        return encoded


@dataclass(frozen=True, slots=True)
class Source:
    """The source of a subscription operation, and the encoding of its updates."""

    subscription: Subscription
    projection: Projection
    key: object


class Execution:
    """Run the operations of all clients."""

    def __init__(
        self,
        schema: GraphQLSchema,
        documents: Documents,
        client: AggregatorClient,
        *,
        max_symbols: int,
        buffer_limits: BufferLimits,
    ) -> None:
        self.documents = documents
        self._schema = schema
        self._client = client
        self._max_symbols = max_symbols
        self._buffer_limits = buffer_limits
        self._projections: dict[object, Projection] = {}
        self._running: set[asyncio.Future[ExecutionResult]] = set()

    async def run(self, document: Document, variables: Variables, *, caller: str) -> Response:
        """Run a query.

        Raises:
            RequestErrors: its variables are not what it declares.
        """
        context = self._context(caller)
        result = execute_root_selection_set(self._build(document, variables, context))
        if inspect.isawaitable(result):
            result = await self._run_out(result)
        return Response(
            result.data, format_field_errors(result.errors or ()), _extensions(context.reader)
        )

    async def _run_out(self, running: Awaitable[ExecutionResult]) -> ExecutionResult:
        """Return the result of a query; it runs to its end even after its client disconnected.

        graphql-core starts a task per field. A task that is cancelled before its first step leaves
        a resolver that was never awaited, and Python warns on standard error. The end is near: a
        query has a deadline.
        """
        task = asyncio.ensure_future(running)
        # The event loop itself holds tasks weakly.
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    def subscribe(self, document: Document, variables: Variables) -> Source:
        """Return the source of a subscription operation; :meth:`release` it at the end.

        Raises:
            RequestErrors: its variables are not what it declares.
            GraphQLError: its arguments cannot be used.
        """
        executor = self._build(document, variables, self._context(""))
        feed = create_source_event_stream(executor)
        if isinstance(feed, ExecutionResult):
            raise (feed.errors or [GraphQLError("there is nothing to subscribe to")])[0]
        key = _selection_key(document, variables)
        projection = self._projections.get(key)
        if projection is None:
            plain = find_plain_selection(document.operation)
            projection = self._projections[key] = Projection(executor, plain)
        projection.users += 1
        return Source(cast("Feed", feed).subscription, projection, key)

    def release(self, source: Source) -> None:
        """Forget the projection if only ``source`` used it."""
        source.projection.users -= 1
        if source.projection.users == 0:
            del self._projections[source.key]

    def _context(self, caller: str) -> Context:
        reader = Reader(self._client, caller, self._max_symbols)
        return Context(reader, self._max_symbols, self._buffer_limits)

    def _build(
        self, document: Document, variables: Variables, context: Context
    ) -> Executor[Context]:
        name = document.operation.name
        executor = Executor.build(
            self._schema,
            document.tree,
            context_value=context,
            raw_variable_values=variables,
            operation_name=name.value if name else None,
        )
        if isinstance(executor, list):
            raise RequestErrors(executor, BAD_USER_INPUT)
        return executor


def check_kind(document: Document, *kinds: str) -> None:
    """Check that the operation is one of ``kinds``, those that its transport allows.

    Raises:
        RequestErrors: it is not.
    """
    if document.kind not in kinds:
        message = f"A {document.kind} cannot be run here"
        if document.kind == "subscription":
            message += ", it needs a WebSocket with graphql-transport-ws"
        raise RequestErrors([GraphQLError(f"{message}.", document.operation)], VALIDATION_FAILED)


# Fields of an aggregate take no arguments, so variables change a selection only by @skip and
# @include.
def _selection_key(document: Document, variables: Variables) -> object:
    name = document.operation.name
    by_variables = orjson.dumps(variables) if "@" in document.text else b""
    return document.text, name.value if name else None, by_variables


def _extensions(reader: Reader) -> dict[str, Any]:
    if reader.status is None:
        return {}
    extensions: dict[str, Any] = {"dataStatus": reader.status.value}
    if reader.status is DataStatus.LAST:
        # Whole seconds, as in REST's header Age.
        extensions["age"] = int(reader.age_s)
    return extensions
