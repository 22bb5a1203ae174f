"""Construct the GraphQL door and put it into the gateway's application."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.routing import Route, WebSocketRoute

from gateway.backend.client import AggregatorClient
from gateway.bars.joins import Joins
from gateway.clients.capacity import Capacity
from gateway.clients.handshake import OriginCheck
from gateway.graphql.documents import DocumentLimits, Documents
from gateway.graphql.execution import Execution
from gateway.graphql.http import GraphQLHttp
from gateway.graphql.page import graphiql_page
from gateway.graphql.schema import build_schema
from gateway.graphql.websocket import GraphQLDoor, WebSocketLimits
from gateway.hub.hub import Hub
from gateway.hub.subscription import BufferLimits
from gateway.settings import GatewaySettings

PATH = "/graphql"
PAGE_PATH = "/graphiql"


def install_graphql(app: FastAPI, static: Path) -> GraphQLDoor:
    """Serve GraphQL at :data:`PATH`, over HTTP and WebSocket, and GraphiQL, a page to try it.

    Returns:
        What has live clients.
    """
    settings: GatewaySettings = app.state.settings
    client: AggregatorClient = app.state.client
    hub: Hub = app.state.hub
    allow_origin: OriginCheck = app.state.allow_origin
    capacity: Capacity = app.state.capacity
    joins: Joins = app.state.joins
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
        buffer_limits=BufferLimits(settings.buffer_bytes, settings.buffer_age_s),
    )
    http = GraphQLHttp(execution, max_body_bytes=settings.graphql_max_body_bytes)

    door = GraphQLDoor(
        execution,
        hub,
        capacity,
        joins=joins,
        allow_origin=allow_origin,
        limits=WebSocketLimits(
            init_timeout_s=settings.graphql_init_timeout_s,
            max_operations=settings.max_subscriptions,
            message_rate=settings.message_rate,
            message_burst=settings.message_burst,
            max_message_bytes=settings.max_message_bytes,
        ),
    )
    app.router.routes += [
        Route(PATH, http.__call__, methods=["GET", "POST"]),
        WebSocketRoute(PATH, door.serve),
        Route(PAGE_PATH, graphiql_page(static).__call__),
    ]
    return door
