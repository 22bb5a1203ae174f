"""Construct what serves GraphQL; importing this takes 0.25 s, so it waits for the first request."""

from __future__ import annotations

from typing import NamedTuple

from gateway.backend.client import AggregatorClient
from gateway.clients.capacity import Capacity
from gateway.clients.handshake import OriginCheck
from gateway.graphql.documents import DocumentLimits, Documents
from gateway.graphql.execution import Execution
from gateway.graphql.http import GraphQLHttp
from gateway.graphql.schema import build_schema
from gateway.graphql.websocket import GraphQLEndpoint, WebSocketLimits
from gateway.live.session import Sessions
from gateway.settings import GatewaySettings


class Serving(NamedTuple):
    """GraphQL over both protocols."""

    http: GraphQLHttp
    websocket: GraphQLEndpoint


def build_serving(
    settings: GatewaySettings,
    client: AggregatorClient,
    sessions: Sessions,
    capacity: Capacity,
    allow_origin: OriginCheck,
) -> Serving:
    """Return what serves GraphQL."""
    schema = build_schema()
    limits = DocumentLimits(
        max_depth=settings.graphql_max_depth,
        max_aliases=settings.graphql_max_aliases,
        max_tokens=settings.graphql_max_tokens,
        introspection=settings.graphql_introspection,
    )
    execution = Execution(
        schema,
        Documents(schema, limits),
        client,
        max_symbols=settings.max_symbols_per_request,
        buffer_limits=sessions.limits.buffer,
    )
    http = GraphQLHttp(execution, max_body_bytes=settings.graphql_max_body_bytes)
    endpoint = GraphQLEndpoint(
        execution,
        sessions,
        capacity,
        allow_origin=allow_origin,
        limits=WebSocketLimits(),
    )
    return Serving(http, endpoint)
