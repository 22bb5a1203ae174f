"""The REST endpoint for bars."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, Field

from gateway.backend.client import AggregatorClient
from gateway.bars.formats import ARROW, CSV, JSON, encode_page
from gateway.bars.query import DEFAULT_LIMIT, MAX_LIMIT, BarsQuery, Fill, parse_range
from gateway.bars.times import HELP
from gateway.encoding import BAR_KEYS
from gateway.rest.inputs import IN_DIGITS, RAW_SYMBOL_PATTERN, parse_symbol
from gateway.rest.negotiation import choose_media_type
from gateway.rest.routes import (
    COMMON_RESPONSES,
    NO_STORE,
    RETRY_AFTER,
    Caller,
    Client,
    Responses,
    SymbolInPath,
    problem_response,
)
from gateway.rest.schemas import BarsBody

# Where the next page begins, for forms that have no place for it.
NEXT_CURSOR = "X-Next-Cursor"

_CONTENT_TYPES = {JSON: JSON, CSV: f"{CSV}; charset=utf-8; header=present", ARROW: ARROW}

_RESPONSES: Responses = {
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
}

router = APIRouter()


class BarsParameters(BaseModel):
    """The query string."""

    interval: str = Field(
        description="such as `1s 1m 5m 15m 1h 1d`, or `100t 10000v 1000000n` where the "
        "aggregator makes them; `3d 1w 1M 3M 1y` and the like where it makes `1d`",
        examples=["1m"],
    )
    start: str = Field(
        "",
        alias="from",
        description=f"from <= start of a bar; {HELP}. Without it: the last ones before `to`",
    )
    end: str = Field(
        "", alias="to", description="start of a bar < to. Without it: up to the newest"
    )
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT, description="bars on the page"), IN_DIGITS] = (
        DEFAULT_LIMIT
    )
    cursor: str = Field("", description="`nextCursor` of the page before")
    fill: Fill = Field(
        Fill.NONE,
        description="for intervals without a trade; none: nothing, prev: a bar at the last "
        "close, null: a bar without prices. Fillers say so",
    )
    include_partial: bool = Field(
        default=False, description="whether the bar that is not closed yet is among them"
    )

    def to_query(self, symbol: str) -> BarsQuery:
        """Return the query for bars of ``symbol``.

        Raises:
            InvalidInput: names each field that cannot be used.
        """
        return BarsQuery(
            symbol,
            self.interval,
            *parse_range(self.interval, start=self.start, end=self.end, limit=self.limit),
            limit=self.limit,
            cursor=self.cursor,
            fill=self.fill,
            include_partial=self.include_partial,
        )


class SymbolBarsParameters(BarsParameters):
    """The query string, where it names the symbol too."""

    symbol: str = Field(
        description="case counts",
        examples=["BRK/B"],
        json_schema_extra={"pattern": RAW_SYMBOL_PATTERN, "minLength": 1},
    )


Accept = Annotated[str, Header(include_in_schema=False)]


@router.get(
    "/api/v1/marketdata/{symbol}/bars",
    tags=["market data"],
    operation_id="getBars",
    summary="The bars of one symbol",
    response_model=BarsBody,
    responses=_RESPONSES,
)
async def get_bars(
    symbol: SymbolInPath,
    parameters: Annotated[BarsParameters, Query()],
    client: Client,
    caller: Caller,
    accept: Accept = "",
) -> Response:
    """Return a page of bars by start, half-open: from <= start < to."""
    return await _respond(symbol, parameters, client, caller, accept)


@router.get(
    "/api/v1/bars",
    tags=["market data"],
    operation_id="findBars",
    summary="The bars of one symbol, which is named in the query",
    response_model=BarsBody,
    responses=_RESPONSES,
)
async def find_bars(
    parameters: Annotated[SymbolBarsParameters, Query()],
    client: Client,
    caller: Caller,
    accept: Accept = "",
) -> Response:
    """Return a page of bars by start, half-open: from <= start < to.

    For symbols with a slash: some proxies decode a path, and `%2F` becomes a slash there.
    """
    symbol = parse_symbol("symbol", parameters.symbol)
    return await _respond(symbol, parameters, client, caller, accept)


async def _respond(
    symbol: str, parameters: BarsParameters, client: AggregatorClient, caller: str, accept: str
) -> Response:
    media_type = choose_media_type(accept, (JSON, CSV, ARROW))
    query = parameters.to_query(symbol)
    page = await client.get_bars(query.to_request(), caller=caller)
    if not page.bars and not query.cursor and not await client.knows(symbol):
        raise await client.unknown(symbol)
    body = await encode_page(media_type, query, page.bars, page.next_cursor)
    headers = {"Vary": "Accept", **NO_STORE}
    if page.next_cursor:
        headers[NEXT_CURSOR] = page.next_cursor
    return Response(body, headers=headers, media_type=_CONTENT_TYPES[media_type])
