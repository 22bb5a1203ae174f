"""GraphQL over HTTP: parse a request, and choose the form of its response.

The sections named below are those of the specification "GraphQL over HTTP".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Any

import orjson

from gateway.rest.negotiation import parse_parameters
from marketdata.errors import MarketDataError
from marketdata.numbers import parse_float

JSON = "application/json"


class MediaType(StrEnum):
    """How a response is written."""

    # "Status Codes": only here the status says what happened to the operation.
    GRAPHQL = "application/graphql-response+json"
    # What older clients get: 200 for every operation, run or not.
    LEGACY = JSON


@dataclass(frozen=True, slots=True)
class GraphQLRequest:
    """The parameters of a request."""

    query: str
    operation_name: str | None = None
    variables: dict[str, Any] | None = None


class BadRequest(MarketDataError):
    """An HTTP request is not a well-formed GraphQL request."""

    def __init__(
        self, status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers or {}


def negotiate(accept: str | None) -> MediaType:
    """Return how to write the response to a request with this Accept header.

    The one with the highest weight; of several, the first. Without the header, and where the
    client accepts anything, what older clients expect.

    Raises:
        BadRequest: neither is acceptable.
    """
    best: tuple[float, MediaType] | None = None
    for accepted in (accept or "*/*").split(","):
        name, parameters = parse_parameters(accepted)
        media_type = {
            MediaType.GRAPHQL: MediaType.GRAPHQL,
            MediaType.LEGACY: MediaType.LEGACY,
            "application/*": MediaType.LEGACY,
            "*/*": MediaType.LEGACY,
        }.get(name)
        weight = _weight(parameters.get("q", "1"))
        if media_type is None or not _is_utf8(parameters) or weight == 0:
            continue
        if best is None or weight > best[0]:
            best = weight, media_type
    if best is None:
        raise BadRequest(
            HTTPStatus.NOT_ACCEPTABLE, f"{MediaType.GRAPHQL} and {MediaType.LEGACY} can be had"
        )
    return best[1]


def check_content_type(content_type: str | None) -> None:
    """Check that a POST has a JSON body.

    It also protects from other sites: their pages can post forms and plain text anywhere, but JSON
    only where it is allowed.

    Raises:
        BadRequest: it has another body.
    """
    name, parameters = parse_parameters(content_type or "")
    if name != JSON or not _is_utf8(parameters):
        raise BadRequest(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"the body has to be {JSON} in UTF-8",
            {"Accept-Post": JSON},
        )


def parse_body(body: bytes) -> GraphQLRequest:
    """Return the request in the body of a POST.

    Raises:
        BadRequest: it is not a request.
    """
    return _parse(_loads("the body", body))


def parse_query_string(parameters: Mapping[str, str]) -> GraphQLRequest:
    """Return the request in the query string of a GET.

    Raises:
        BadRequest: it is not a request.
    """
    # "GET": variables and extensions are JSON there. An empty parameter is an absent one.
    fields: dict[str, Any] = {name: value for name, value in parameters.items() if value}
    for name in ("variables", "extensions"):
        if name in fields:
            fields[name] = _loads(name, fields[name].encode())
    return _parse(fields)


# "Request Parameters"
def _parse(fields: object) -> GraphQLRequest:
    if not isinstance(fields, dict):
        raise _bad("the request is not a JSON object")
    query, operation_name = fields.get("query"), fields.get("operationName")
    if not isinstance(query, str) or not query:
        raise _bad("query is missing, or not a string")
    if operation_name is not None and not isinstance(operation_name, str):
        raise _bad("operationName is not a string")
    for name in ("variables", "extensions"):
        if fields.get(name) is not None and not isinstance(fields[name], dict):
            raise _bad(f"{name} is not a JSON object")
    return GraphQLRequest(query, operation_name or None, fields.get("variables"))


def _loads(what: str, text: bytes) -> object:
    try:
        loaded: object = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise _bad(f"{what} is not JSON: {exc}") from exc
    return loaded


def _bad(detail: str) -> BadRequest:
    return BadRequest(HTTPStatus.BAD_REQUEST, detail)


def _is_utf8(parameters: Mapping[str, str]) -> bool:
    return parameters.get("charset", "utf-8") in {"utf-8", "utf8"}


def _weight(text: str) -> float:
    try:
        weight = parse_float(text)
    except ValueError:
        return 0.0
    # RFC 9110, 12.4.2: from 0 to 1. NaN is not.
    return weight if 0.0 <= weight <= 1.0 else 0.0
