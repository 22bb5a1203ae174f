"""Construct the GraphQL door and put it into the gateway's application."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from gateway.capacity import Capacity
from gateway.client import AggregatorClient
from gateway.graphql.documents import DocumentLimits, Documents
from gateway.graphql.execution import Execution
from gateway.graphql.http import GraphQLHttp
from gateway.graphql.page import GraphiQLPage
from gateway.graphql.schema import build_schema
from gateway.graphql.websocket import WebSocketLimits, serve_graphql_websocket
from gateway.handshake import OriginCheck
from gateway.hub.hub import Hub
from gateway.hub.subscription import BufferLimits
from gateway.settings import GatewaySettings

PATH = "/graphql"
PAGE_PATH = "/graphiql"


def install_graphql(app: FastAPI, static: Path) -> None:
    """Serve GraphQL at :data:`PATH`, over HTTP and WebSocket, and GraphiQL, a page to try it."""
    settings: GatewaySettings = app.state.settings
    client: AggregatorClient = app.state.client
    hub: Hub = app.state.hub
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
        buffer_limits=BufferLimits(settings.buffer_bytes, settings.buffer_age_s),
    )
    http = GraphQLHttp(execution, max_body_bytes=settings.graphql_max_body_bytes)

    websocket_limits = WebSocketLimits(
        init_timeout_s=settings.graphql_init_timeout_s,
        max_operations=settings.max_subscriptions,
        message_rate=settings.message_rate,
        message_burst=settings.message_burst,
    )

    async def serve(websocket: WebSocket) -> None:
        await serve_graphql_websocket(
            websocket,
            execution,
            hub,
            limits=websocket_limits,
            max_message_bytes=settings.max_message_bytes,
            allow_origin=allow_origin,
            capacity=capacity,
        )

    app.router.routes.append(Route(PATH, http.__call__, methods=["GET", "POST"]))
    app.router.routes.append(WebSocketRoute(PATH, serve))
    app.router.routes.append(Route(PAGE_PATH, GraphiQLPage(static).__call__))
