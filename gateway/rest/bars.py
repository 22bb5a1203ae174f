"""The REST door for history."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from gateway.bars.accept import choose
from gateway.bars.formats import ARROW, CSV, JSON, encode_page
from gateway.bars.question import DEFAULT_LIMIT, MAX_LIMIT, Fill, parse_question
from gateway.bars.times import HELP
from gateway.encoding import BAR_KEYS
from gateway.errors import UnknownSymbol
from gateway.rest.routes import (
    COMMON_RESPONSES,
    NO_STORE,
    RETRY_AFTER,
    Caller,
    Client,
    SymbolInPath,
    problem_response,
)
from gateway.rest.schemas import BarsBody

# Where the next page begins, for answers that have no room for it.
NEXT_CURSOR = "X-Next-Cursor"

_CONTENT_TYPES = {JSON: JSON, CSV: f"{CSV}; charset=utf-8; header=present", ARROW: ARROW}

router = APIRouter()


@router.get(
    "/api/v1/marketdata/{symbol}/bars",
    tags=["market data"],
    operation_id="getBars",
    summary="The bars of one symbol",
    response_model=BarsBody,
    responses={
        **COMMON_RESPONSES,
        200: {
            "headers": {
                NEXT_CURSOR: {
                    "description": "`nextCursor`, where there is one",
                    "schema": {"type": "string"},
                }
            },
            "content": {
                CSV: {
                    "schema": {"type": "string"},
                    "example": f"{','.join(BAR_KEYS)}\r\n",
                },
                ARROW: {"schema": {"type": "string", "format": "binary"}},
            },
        },
        404: problem_response("There is no data for the symbol."),
        406: problem_response("There is no such form, or the server lacks what makes it."),
        503: problem_response("The aggregator does not answer.", headers=RETRY_AFTER),
    },
)
async def get_bars(
    *,
    symbol: SymbolInPath,
    client: Client,
    caller: Caller,
    interval: Annotated[
        str,
        Query(
            description="such as `1s 1m 5m 15m 1h 1d`, or `100t 10000v 1000000n` where the "
            "aggregator makes them",
            examples=["1m"],
        ),
    ],
    start: Annotated[
        str,
        Query(
            alias="from",
            description=f"from <= start of a bar; {HELP}. Without it: the last ones before `to`",
        ),
    ] = "",
    end: Annotated[
        str,
        Query(alias="to", description="start of a bar < to. Without it: up to the newest"),
    ] = "",
    limit: Annotated[
        int, Query(ge=1, le=MAX_LIMIT, description="bars on the page")
    ] = DEFAULT_LIMIT,
    cursor: Annotated[str, Query(description="`nextCursor` of the page before")] = "",
    fill: Annotated[
        Fill,
        Query(
            description="for intervals without a trade; none: nothing, prev: a bar at the last "
            "close, null: a bar without prices. Fillers say so"
        ),
    ] = Fill.NONE,
    include_partial: Annotated[
        bool, Query(description="whether the bar that is not closed yet is among them")
    ] = False,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    """Return a page of bars by start, half-open: from <= start < to."""
    media_type = choose(accept, (JSON, CSV, ARROW))
    question = parse_question(
        symbol,
        interval,
        start=start,
        end=end,
        limit=limit,
        cursor=cursor,
        fill=fill,
        include_partial=include_partial,
    )
    answer = await client.get_bars(question.to_request(), caller=caller)
    if not answer.bars and not cursor and not await client.knows(symbol):
        raise UnknownSymbol(symbol)
    body = await encode_page(media_type, question, answer.bars, answer.next_cursor)
    headers = {"Vary": "Accept", **NO_STORE}
    if answer.next_cursor:
        headers[NEXT_CURSOR] = answer.next_cursor
    return Response(body, headers=headers, media_type=_CONTENT_TYPES[media_type])
