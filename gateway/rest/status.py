"""The REST endpoint for the status of the server."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from gateway.encoding import encode_json
from gateway.rest.routes import JSON, NO_STORE
from gateway.rest.schemas import StatusBody
from gateway.status import Status

router = APIRouter()


def the_status(request: Request) -> Status:
    """Return the status of the server."""
    status: Status = request.app.state.status
    return status


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
