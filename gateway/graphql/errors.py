"""Turn errors into GraphQL: one table, one format (``extensions.code``).

::

    MarketDataError
    └── RequestErrors    an operation cannot be run at all
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog
from graphql import GraphQLError, GraphQLSyntaxError

from gateway.errors import (
    MAX_ERRORS,
    AggregatorUnavailable,
    HistoryTooLong,
    InvalidInput,
    RateLimited,
    retry_after,
    shorten,
)
from gateway.hub.hub import TooManySymbols
from marketdata.errors import MarketDataError
from marketdata.intervals import InvalidInterval

log = structlog.get_logger()

PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
BAD_USER_INPUT = "BAD_USER_INPUT"
SLOW_CONSUMER = "SLOW_CONSUMER"
TOO_MANY_OPERATIONS = "TOO_MANY_OPERATIONS"
INTERNAL_SERVER_ERROR = "INTERNAL_SERVER_ERROR"

CODES: Mapping[type[MarketDataError], str] = {
    InvalidInput: BAD_USER_INPUT,
    InvalidInterval: BAD_USER_INPUT,
    HistoryTooLong: "HISTORY_TOO_LONG",
    RateLimited: "RATE_LIMITED",
    AggregatorUnavailable: "SERVICE_UNAVAILABLE",
    TooManySymbols: "TOO_MANY_SYMBOLS",
}

FormattedErrors = list[dict[str, Any]]


class RequestErrors(MarketDataError):
    """An operation cannot be run: a request error in the words of the specification."""

    def __init__(self, errors: Sequence[GraphQLError], code: str) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = tuple(errors)
        self.code = code


def format_request_errors(failure: RequestErrors) -> FormattedErrors:
    """Return the ``errors`` of an operation that was not run."""
    return [
        _format(error, {"code": PARSE_FAILED if _is_syntax(error) else failure.code})
        for error in failure.errors[:MAX_ERRORS]
    ]


def format_field_errors(errors: Iterable[GraphQLError]) -> FormattedErrors:
    """Return the ``errors`` of an operation that was run.

    An unexpected error is logged; the client learns no details.
    """
    return [_format_field_error(error) for error in errors]


def format_our_error(error: MarketDataError) -> dict[str, Any]:
    """Return the entry in ``errors`` for ``error``."""
    return {"message": shorten(str(error)), "extensions": _extensions(error)}


def is_ours(error: Exception | None) -> bool:
    """Return whether clients get the message of ``error``."""
    return type(error) in CODES


def _format_field_error(error: GraphQLError) -> dict[str, Any]:
    original = error.original_error
    if isinstance(original, MarketDataError) and is_ours(original):
        return _format(error, _extensions(original))
    if original is None or isinstance(original, GraphQLError):
        return _format(error, dict(error.extensions or {}))
    log.error("graphql_field_failed", path=error.path, exc_info=original)
    formatted = _format(error, {"code": INTERNAL_SERVER_ERROR})
    return {**formatted, "message": "the gateway failed; the reason is in its log"}


def _extensions(error: MarketDataError) -> dict[str, Any]:
    extensions: dict[str, Any] = {"code": CODES[type(error)]}
    if isinstance(error, RateLimited | AggregatorUnavailable):
        extensions["retryAfter"] = retry_after(error)
    elif isinstance(error, InvalidInput):
        extensions["errors"] = [
            {"field": shorten(e.field), "detail": shorten(e.detail)}
            for e in error.errors[:MAX_ERRORS]
        ]
    elif isinstance(error, InvalidInterval):
        extensions["errors"] = [{"field": "interval", "detail": str(error)}]
    return extensions


def _format(error: GraphQLError, extensions: dict[str, Any]) -> dict[str, Any]:
    formatted: dict[str, Any] = {**error.formatted, "message": shorten(error.message)}
    if extensions:
        formatted["extensions"] = extensions
    return formatted


def _is_syntax(error: GraphQLError) -> bool:
    return isinstance(error, GraphQLSyntaxError)
