"""Construct the GraphQL endpoint and put it into the gateway's application."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.routing import Route, WebSocketRoute

from gateway.backend.client import AggregatorClient
from gateway.clients.capacity import Capacity
from gateway.clients.handshake import OriginCheck
from gateway.graphql.documents import DocumentLimits, Documents
from gateway.graphql.execution import Execution
from gateway.graphql.http import GraphQLHttp
from gateway.graphql.page import graphiql_page
from gateway.graphql.schema import build_schema
from gateway.graphql.websocket import GraphQLEndpoint, WebSocketLimits
from gateway.live.session import Sessions
from gateway.settings import GatewaySettings

PATH = "/graphql"
PAGE_PATH = "/graphiql"


def install_graphql(app: FastAPI, sessions: Sessions, static: Path) -> None:
    """Serve GraphQL at :data:`PATH`, over HTTP and WebSocket, and GraphiQL, a page to try it."""
    settings: GatewaySettings = app.state.settings
    client: AggregatorClient = app.state.client
    allow_origin: OriginCheck = app.state.allow_origin
    capacity: Capacity = app.state.capacity
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
    app.router.routes += [
        Route(PATH, http.__call__, methods=["GET", "POST"]),
        WebSocketRoute(PATH, endpoint.serve),
        Route(PAGE_PATH, graphiql_page(static).__call__),
    ]
