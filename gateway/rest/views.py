"""The REST endpoint for views: what follows from all trades of a symbol."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from gateway.bars.formats import JSON
from gateway.rest.inputs import RAW_SYMBOL_PATTERN, parse_symbol
from gateway.rest.routes import (
    COMMON_RESPONSES,
    NO_STORE,
    RETRY_AFTER,
    Caller,
    Client,
    problem_response,
)
from gateway.rest.schemas import ViewBody

router = APIRouter()


@router.get(
    "/api/v1/views/{view}",
    tags=["market data"],
    operation_id="getView",
    summary="A view of one symbol",
    response_model=ViewBody,
    responses={
        **COMMON_RESPONSES,
        404: problem_response("There is no data for the symbol, or no such view."),
        503: problem_response("The aggregator does not answer.", headers=RETRY_AFTER),
    },
)
async def get_view(
    client: Client,
    caller: Caller,
    view: Annotated[str, Path(description="one that the aggregator keeps, such as `last-trade`")],
    symbol: Annotated[
        str,
        Query(
            description="case counts",
            examples=["AAPL"],
            json_schema_extra={"pattern": RAW_SYMBOL_PATTERN, "minLength": 1},
        ),
    ],
) -> Response:
    """Return what a view knows of one symbol."""
    state = await client.get_view(view, parse_symbol("symbol", symbol), caller=caller)
    return Response(state, headers=NO_STORE, media_type=JSON)
