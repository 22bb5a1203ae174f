"""The REST routes for states, symbols, health and status."""

from __future__ import annotations

from math import floor
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from gateway.backend.client import AggregatorClient, DataStatus, Reading, Readings
from gateway.backend.health import Readiness
from gateway.encoding import encode_json
from gateway.rest.inputs import (
    IN_DIGITS,
    RAW_SYMBOL_PATTERN,
    parse_optional_symbol,
    parse_prefix,
    parse_symbol,
    parse_symbols,
)
from gateway.rest.paths import decode_name
from gateway.rest.schemas import (
    AggregateBody,
    AggregatesBody,
    LiveBody,
    ProblemBody,
    ReadyBody,
    StatusBody,
    SymbolsBody,
)
from gateway.settings import GatewaySettings
from gateway.status import Status

DEFAULT_PAGE = 100
MAX_PAGE = 1000

JSON = "application/json"

# Prices are old the moment they are sent.
NO_STORE = {"Cache-Control": "no-store"}


# These are coroutines because FastAPI runs others in threads, which costs more than all the rest.


async def the_client(request: Request) -> AggregatorClient:
    """Return the client that all endpoints share."""
    client: AggregatorClient = request.app.state.client
    return client


async def the_settings(request: Request) -> GatewaySettings:
    """Return the settings of the gateway."""
    settings: GatewaySettings = request.app.state.settings
    return settings


async def the_readiness(request: Request) -> Readiness:
    """Return the check whether the aggregator serves."""
    readiness: Readiness = request.app.state.readiness
    return readiness


async def the_status(request: Request) -> Status:
    """Return the status of the server."""
    status: Status = request.app.state.status
    return status


async def the_caller(request: Request) -> str:
    """Return the address that a rate limit by client counts."""
    return request.client.host if request.client else ""


async def symbol_in_path(
    symbol: Annotated[
        str,
        Path(
            description="percent-encoded, also a slash (%2F); case counts",
            examples=["AAPL"],
            json_schema_extra={"pattern": RAW_SYMBOL_PATTERN, "minLength": 1},
        ),
    ],
) -> str:
    """Return the symbol in the path, in normal form."""
    return parse_symbol("symbol", decode_name(symbol))


Client = Annotated[AggregatorClient, Depends(the_client)]
Caller = Annotated[str, Depends(the_caller)]
Settings = Annotated[GatewaySettings, Depends(the_settings)]
SymbolInPath = Annotated[str, Depends(symbol_in_path)]

RETRY_AFTER = {
    "Retry-After": {
        "description": "seconds until another try makes sense",
        "schema": {"type": "integer", "minimum": 1},
    }
}
_DATA_HEADERS = {
    "X-Data-Status": {
        "description": "live: from the aggregator; it does not answer: fallback (nothing is known) "
        "or last (what it said last)",
        "required": True,
        "schema": {"type": "string", "enum": [status.value for status in DataStatus]},
    },
    "Age": {
        "description": "only with X-Data-Status: last; seconds since the aggregator said so, of "
        "the oldest value",
        "schema": {"type": "integer", "minimum": 0},
    },
}


def problem_response(description: str, **more: Any) -> dict[str, Any]:
    """Return how OpenAPI says that an answer is a problem."""
    return {"model": ProblemBody, "description": description, **more}


Responses = dict[int | str, dict[str, Any]]

COMMON_RESPONSES: Responses = {
    422: problem_response("A field of the request cannot be used; `errors` names it."),
    429: problem_response("Over the rate limit.", headers=RETRY_AFTER),
}
_DATA: Responses = {
    200: {"headers": _DATA_HEADERS},
    **COMMON_RESPONSES,
    503: problem_response(
        "The aggregator does not answer; only with GATEWAY_FALLBACK=error.", headers=RETRY_AFTER
    ),
}

router = APIRouter()


@router.get(
    "/api/v1/marketdata/{symbol}",
    tags=["market data"],
    operation_id="getMarketData",
    summary="The state of one symbol",
    response_model=AggregateBody,
    responses={**_DATA, 404: problem_response("There is no data for the symbol.")},
)
async def get_market_data(symbol: SymbolInPath, client: Client, caller: Caller) -> Response:
    """Return open, high, low, close and volume of the symbol's present session."""
    reading = await client.get_aggregate(symbol, caller=caller)
    return Response(reading.json, headers=data_headers(reading), media_type=JSON)


@router.get(
    "/api/v1/marketdata",
    tags=["market data"],
    operation_id="listMarketData",
    summary="The states of several symbols",
    response_model=AggregatesBody,
    responses=_DATA,
)
async def list_market_data(
    symbols: Annotated[
        list[str], Query(description="comma-separated", examples=[["AAPL", "MSFT"]])
    ],
    client: Client,
    caller: Caller,
    settings: Settings,
) -> Response:
    """Return the states in the order of the request, each symbol once, with one call."""
    wanted = parse_symbols("symbols", symbols, settings.max_symbols_per_request)
    readings = await client.get_aggregates(wanted, caller=caller)
    states = b",".join(reading.json for reading in readings.readings)
    body = b'{"aggregates":[%b],"unknown":%b}' % (states, encode_json(readings.unknown))
    return Response(body, headers=data_headers(readings), media_type=JSON)


@router.get(
    "/api/v1/symbols",
    tags=["market data"],
    operation_id="listSymbols",
    summary="The symbols there is data for",
    response_model=SymbolsBody,
    responses={
        **COMMON_RESPONSES,
        503: problem_response("The aggregator does not answer.", headers=RETRY_AFTER),
    },
)
async def list_symbols(
    client: Client,
    caller: Caller,
    prefix: Annotated[str, Query(description="only symbols that begin so; case counts")] = "",
    limit: Annotated[
        int, Query(ge=1, le=MAX_PAGE, description="symbols on the page"), IN_DIGITS
    ] = DEFAULT_PAGE,
    cursor: Annotated[str, Query(description="`nextCursor` of the page before")] = "",
) -> Response:
    """Return a page of symbols in byte order."""
    page = await client.list_symbols(
        prefix=parse_prefix("prefix", prefix),
        limit=limit,
        cursor=parse_optional_symbol("cursor", cursor),
        caller=caller,
    )
    body = encode_json({"symbols": page.symbols, "nextCursor": page.next_cursor or None})
    return Response(body, headers=NO_STORE, media_type=JSON)


@router.get(
    "/health/live",
    tags=["health"],
    operation_id="getLive",
    summary="Whether the gateway runs",
    response_model=LiveBody,
)
async def get_live() -> Response:
    """Answer. A process that does not should be restarted."""
    return Response(encode_json({"status": "live"}), headers=NO_STORE, media_type=JSON)


@router.get(
    "/health/ready",
    tags=["health"],
    operation_id="getReady",
    summary="Whether the gateway has live data",
    response_model=ReadyBody,
    responses={503: {"model": ReadyBody, "description": "`checks` says what is not ready."}},
)
async def get_ready(readiness: Annotated[Readiness, Depends(the_readiness)]) -> Response:
    """Ask the aggregator whether it serves. A gateway that stops is not ready.

    Neither rate limit nor circuit breaker apply.
    """
    checks = await readiness.check()
    ready = set(checks.values()) == {"ok"}
    body = {"status": "ready" if ready else "not ready", "checks": checks}
    return Response(encode_json(body), 200 if ready else 503, headers=NO_STORE, media_type=JSON)


@router.get(
    "/api/v1/status",
    tags=["health"],
    operation_id="getStatus",
    summary="How the gateway, the aggregator and what feeds it are",
    response_model=StatusBody,
)
async def get_status(status: Annotated[Status, Depends(the_status)]) -> Response:
    """Always respond; `aggregator` has only `status` while the aggregator does not answer.

    Neither rate limit nor circuit breaker apply.
    """
    return Response(encode_json(await status.read()), headers=NO_STORE, media_type=JSON)


def data_headers(data: Reading | Readings) -> dict[str, str]:
    """Return the headers that say where data comes from."""
    headers = {"X-Data-Status": str(data.status), **NO_STORE}
    if data.status is DataStatus.LAST:
        headers["Age"] = str(floor(data.age_s))
    return headers
