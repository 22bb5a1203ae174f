"""Serve the state of one symbol, the most frequent request, without the framework."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.backend.client import Reading
from gateway.backend.together import ReadsTogether
from gateway.clients.plain_reads import OUTCOME
from gateway.rest.problems import KINDS, UnexpectedErrors, respond_to
from gateway.rest.routes import data_headers, symbol_in_path
from marketdata.errors import MarketDataError

PREFIX = "/api/v1/marketdata/"
_CONTENT_TYPE = (b"content-type", b"application/json")


class SymbolReads:
    """Serve ``GET /api/v1/marketdata/{symbol}``; pass everything else on.

    FastAPI's route describes it and would respond the same. Its layers take twice the time of a
    call to the aggregator.
    """

    def __init__(self, app: ASGIApp, reads: ReadsTogether) -> None:
        self._app = app
        self._reads = reads
        self._guarded = UnexpectedErrors(self._answer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond, or pass the request on."""
        if scope["type"] == "http" and scope["method"] == "GET":
            path: str = scope["path"]
            if path.startswith(PREFIX) and path.rfind("/") < len(PREFIX) < len(path):
                await self._guarded(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            reading = await self._read(scope)
        except MarketDataError as exc:
            if type(exc) not in KINDS:
                raise
            await respond_to(scope, exc)(scope, receive, send)
            return
        body = reading.json
        headers = [(b"content-length", str(len(body)).encode())]
        for name, value in data_headers(reading).items():
            headers.append((name.lower().encode(), value.encode()))
        headers.append(_CONTENT_TYPE)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _read(self, scope: Scope) -> Reading:
        outcome = scope.get("state", {}).get(OUTCOME)
        if isinstance(outcome, Exception):
            raise outcome
        if isinstance(outcome, Reading):
            return outcome
        symbol = await symbol_in_path(scope["path"][len(PREFIX) :])
        client = scope["client"]
        return await self._reads.get_aggregate(symbol, caller=client[0] if client else "")
