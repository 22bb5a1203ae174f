"""Put the GraphQL endpoint into the gateway's application."""

from __future__ import annotations

import asyncio
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from gateway.graphql.page import graphiql_page
from gateway.live.session import Sessions

if TYPE_CHECKING:
    from gateway.graphql.serving import Serving

PATH = "/graphql"
PAGE_PATH = "/graphiql"


class LateGraphQL:
    """GraphQL from its first request on: to load it at the start would double that time.

    It is built in a thread, so that other clients do not wait.

    Args:
        app: the application, whose state it needs.
        sessions: the live sessions of the gateway.
    """

    def __init__(self, app: FastAPI, sessions: Sessions) -> None:
        self._state = app.state
        self._sessions = sessions
        self._building: asyncio.Task[Serving] | None = None

    async def get(self, request: Request) -> Response:
        """Respond to a request over HTTP."""
        return await (await self._serving()).http(request)

    async def serve(self, websocket: WebSocket) -> None:
        """Serve a WebSocket."""
        await (await self._serving()).websocket.serve(websocket)

    async def _serving(self) -> Serving:
        if self._building is None:
            self._building = asyncio.create_task(asyncio.to_thread(self._build))
        # A client that leaves does not take it from the others.
        return await asyncio.shield(self._building)

    def _build(self) -> Serving:
        module = import_module("gateway.graphql.serving")
        state = self._state
        serving: Serving = module.build_serving(
            state.settings, state.client, self._sessions, state.capacity, state.allow_origin
        )
        return serving


def install_graphql(app: FastAPI, sessions: Sessions, static: Path) -> None:
    """Serve GraphQL at :data:`PATH`, over HTTP and WebSocket, and GraphiQL, a page to try it."""
    graphql = LateGraphQL(app, sessions)
    app.router.routes += [
        Route(PATH, graphql.get, methods=["GET", "POST"]),
        WebSocketRoute(PATH, graphql.serve),
        Route(PAGE_PATH, graphiql_page(static).__call__),
    ]
