"""The endpoint of GraphQL over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import structlog
from starlette.requests import Request
from starlette.responses import Response

from gateway.encoding import encode_json
from gateway.errors import shorten
from gateway.graphql.errors import INTERNAL_SERVER_ERROR, RequestErrors, format_request_errors
from gateway.graphql.execution import Execution, check_kind
from gateway.graphql.requests import (
    BadRequest,
    GraphQLRequest,
    MediaType,
    check_content_type,
    negotiate,
    parse_body,
    parse_query_string,
)

log = structlog.get_logger()


class GraphQLHttp:
    """Serve GraphQL requests."""

    def __init__(self, execution: Execution, *, max_body_bytes: int) -> None:
        self._execution = execution
        self._max_body_bytes = max_body_bytes

    async def __call__(self, request: Request) -> Response:
        """Respond to one request."""
        media_type = MediaType.LEGACY
        try:
            media_type = negotiate(request.headers.get("accept"))
            return await self._execute(request, await self._parse(request), media_type)
        except BadRequest as exc:
            errors = [{"message": shorten(str(exc))}]
            return _respond(media_type, exc.status, {"errors": errors}, exc.headers)
        except RequestErrors as exc:
            # "Status Codes": a response without `data` is a failure. Older clients do not expect
            # it in the status.
            status = HTTPStatus.OK if media_type is MediaType.LEGACY else HTTPStatus.BAD_REQUEST
            return _respond(media_type, status, {"errors": format_request_errors(exc)})
        except Exception:
            log.exception("graphql_request_failed")
            message = "the gateway failed; the reason is in its log"
            error = {"message": message, "extensions": {"code": INTERNAL_SERVER_ERROR}}
            return _respond(media_type, HTTPStatus.INTERNAL_SERVER_ERROR, {"errors": [error]})

    async def _parse(self, request: Request) -> GraphQLRequest:
        if request.method == "GET":
            return parse_query_string(request.query_params)
        check_content_type(request.headers.get("content-type"))
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._max_body_bytes:
                raise BadRequest(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                    f"the body is longer than {self._max_body_bytes} bytes",
                    # The rest is not read, so nothing can follow it.
                    {"Connection": "close"},
                )
        return parse_body(bytes(body))

    async def _execute(
        self, request: Request, operation: GraphQLRequest, media_type: MediaType
    ) -> Response:
        documents = self._execution.documents
        document = documents.parse(operation.query, operation.operation_name)
        if request.method == "GET" and document.kind == "mutation":
            # "GET": it must not change anything, although the schema has no mutations.
            raise BadRequest(
                HTTPStatus.METHOD_NOT_ALLOWED,
                "a mutation has to be sent by POST",
                {"Allow": "POST"},
            )
        documents.validate(document)
        check_kind(document, "query")
        caller = request.client.host if request.client else ""
        response = await self._execution.run(document, operation.variables, caller=caller)
        return _respond(media_type, HTTPStatus.OK, response.to_dict())


def _respond(
    media_type: MediaType,
    status: HTTPStatus,
    document: dict[str, object],
    headers: Mapping[str, str] | None = None,
) -> Response:
    return Response(
        encode_json(document),
        status,
        {"Cache-Control": "no-store", "Vary": "Accept", **(headers or {})},
        f"{media_type}; charset=utf-8",
    )
